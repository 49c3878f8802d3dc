"""What people write, without Slack's markup: readable to the agent, and commands taken apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_TOKEN = re.compile(r"<([^<>\n]+)>")
_USER = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>")
_COMMAND = re.compile(r"!([A-Za-z][A-Za-z-]*)(?:\s+(.*))?", re.DOTALL)
_LINK = ("http://", "https://", "mailto:", "tel:")


def mentioned(text: str) -> tuple[str, ...]:
    """Ids of the accounts that a text mentions, each once, in order."""
    return tuple(dict.fromkeys(_USER.findall(text)))


def begins_with(text: str) -> str:
    """The account that a text begins with, as one writes to somebody; empty where it does not."""
    found = _USER.match(text.lstrip())
    return found[1] if found else ""


def without(text: str, user: str) -> str:
    """The text without this account's mention at its beginning."""
    found = re.match(rf"\s*<@{re.escape(user)}(?:\|[^>]*)?>[ \t]*[:,]?[ \t]?", text)
    return text[found.end() :] if found else text


def readable(text: str, names: Mapping[str, str]) -> str:
    """As a person sees it in Slack. `names` has a name for each account mentioned; its id stands
    beside it, since names are not unique."""

    def one(found: re.Match[str]) -> str:
        inner, _, label = found[1].partition("|")
        if inner.startswith("@"):
            name = names.get(inner[1:]) or label
            return f"@{name} ({inner[1:]})" if name else f"@{inner[1:]}"
        if inner.startswith("#"):
            return f"#{label or inner[1:]}"
        if inner.startswith("!subteam^"):
            group = inner.removeprefix("!subteam^")
            return f"@{label.removeprefix('@')} ({group})" if label else f"@{group}"
        if inner.startswith("!"):
            return label or f"@{inner[1:].partition('^')[0]}"
        return _link(found[0], inner, label)

    return _plain(_TOKEN.sub(one, text))


def command(text: str) -> tuple[str, str] | None:
    """(name, rest) of `!word rest`; None where a text is no command. In `rest` the mentions stand
    as Slack writes them, for whoever looks accounts up in them."""
    found = _COMMAND.fullmatch(text.strip())
    if found is None:
        return None
    return found[1].lower(), _unmarked(found[2] or "")


def slash(text: str) -> tuple[str, str]:
    """(name, rest) of what follows a slash command; `help` where nothing does."""
    name, *rest = text.split(maxsplit=1)[:2] or ["help"]
    return name.lstrip("!").lower() or "help", _unmarked("".join(rest))


def _unmarked(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        inner, _, label = found[1].partition("|")
        return found[0] if inner[:1] in "@!#" else _link(found[0], inner, label)

    return _plain(_TOKEN.sub(one, text)).strip()


def _link(whole: str, target: str, label: str) -> str:
    if not target.startswith(_LINK):
        return whole
    bare = target.removeprefix("mailto:").removeprefix("tel:")
    if not label or label in (target, bare) or target in (f"http://{label}", f"https://{label}"):
        return label or bare
    return f"[{label}]({target})"


def _plain(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def escaped(text: str) -> str:
    """Somebody's words for Slack's own markup: nothing in them has a meaning."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_CALL = re.compile(r"<(?=[!@#])")
_EVERYBODY = re.compile(r"@(?=(?:channel|here|everyone|group)\b)", re.IGNORECASE)


def calling_nobody(markdown: str) -> str:
    """Markdown of exactly the same length in which nothing notifies anybody: what would mention
    people, groups or channels is spelt with look-alikes."""
    return _EVERYBODY.sub("＠", _CALL.sub("‹", markdown))


def clipped(text: str, limit: int) -> str:
    """At most so many characters, `…` where there were more."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def joined(lines: Iterable[str], limit: int) -> list[str]:
    """Lines put together, as many as fit, in texts of at most so many characters."""
    texts: list[str] = []
    for line in lines:
        if texts and len(texts[-1]) + 1 + len(line) <= limit:
            texts[-1] += f"\n{line}"
        else:
            texts.append(clipped(line, limit))
    return texts
