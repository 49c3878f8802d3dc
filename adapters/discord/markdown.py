"""CommonMark with tables as the Markdown that Discord has. Nothing is left out.

What CommonMark means as code is code on Discord, and nothing else is: a stray backtick is escaped
and a fence cannot be ended from within, so that both read the same text as code. Then a link
outside code shows where it leads, bars hide nothing, and no quote swallows what follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from adapters.discord.table import table

_PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_PIECE = re.compile(
    r"(?P<escaped>\\.)"
    r"|(?P<code>(?P<ticks>`+)(?!`)(?P<inner>.+?)(?<!`)(?P=ticks)(?!`))"
    r"|(?P<stray>`+)"
    r"|(?P<link>!?\[(?P<text>(?:\\.|[^\[\]\\`\n])*)\]\(\s*"
    r"(?:<(?P<angled>[^<>\n]*)>|(?P<plain>[^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*))"
    r"\s*\))"
    r"|(?P<masked>\]\()"
    r"|(?P<bars>\|\|)",
    re.DOTALL,
)
_QUOTES = re.compile(r"^(\s*)(?:>[ ]?){2,}", re.MULTILINE)
_MARKER = re.compile(r"[\s>]*(?:(?:[-*+]|\d{1,9}[.)])(?:[ \t]+|$)[\s>]*)+")
_LABEL = re.compile(r"^\w[\w+#.-]{0,19}$")
_ZERO = "\u200b"


def to_discord(text: str) -> str:
    """The whole text, for Discord."""
    lines = text.split("\n")
    parts: list[str] = []
    at = 0
    for start, end, made in _islands(_PARSER.parse(text), lines):
        if start < at:
            continue
        if start > at:
            parts.append(_prose("\n".join(lines[at:start])))
        parts.append(made)
        at = end
    if at < len(lines):
        parts.append(_prose("\n".join(lines[at:])))
    return "\n".join(parts).strip("\n")


def fence(code: str, language: str = "") -> str:
    """Code in a block that it cannot end."""
    inner = re.sub(r"`{3,}", lambda ticks: _ZERO.join(ticks[0]), code.rstrip("\n"))
    if inner.endswith("`"):
        inner += _ZERO
    label = language if _LABEL.match(language) else ""
    # Without a label the first line could be taken for one.
    return f"```{label}\n{inner}\n```"


def _islands(tokens: list[Token], lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """(first line, line after the last, what stands there instead), in order."""
    for number, token in enumerate(tokens):
        if token.map is None:
            continue
        start, end = token.map
        while end > start and end <= len(lines) and not lines[end - 1].strip():
            end -= 1
        made: str | None = None
        match token.type:
            case "fence":
                made = _fenced(token.content, token.info.strip())
            case "code_block":
                made = fence(token.content)
            case "hr":
                made = "⎯" * 12
            case "heading_open":
                made = _heading(token, tokens[number + 1].content)
            case "table_open":
                source = "\n".join(lines[start:end])
                made = table(_rows(tokens, number), source) or fence(source)
        if made is not None:
            yield start, end, _after_marker(token, lines[start], made)


def _after_marker(token: Token, line: str, made: str) -> str:
    """With the list's mark that stands on the same line, where there is one."""
    marker = _MARKER.match(line)
    if marker is None or (token.type == "hr" and len(set("".join(line.split()))) == 1):
        return made
    mark = marker[0].replace(">", "").rstrip()
    return f"{mark} {made}" if token.type == "heading_open" else f"{mark}\n{made}"


def _fenced(code: str, info: str) -> str:
    """What stands behind a fence's language is kept, before the block."""
    label, _, more = info.partition(" ")
    if not _LABEL.match(label):
        label, more = "", info
    block = fence(code, label)
    return f"{_prose(more.strip())}\n{block}" if more.strip() else block


def _heading(token: Token, content: str) -> str:
    level = int(token.tag[1:])
    said = _prose(content).replace("\n", " ")
    if not said.strip():
        return ""
    return f"{'#' * level} {said}" if level <= 3 else f"**{said}**"


def _rows(tokens: list[Token], start: int) -> list[list[str]]:
    rows: list[list[str]] = []
    for token in tokens[start + 1 :]:
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(token.content.replace("\n", " "))
    return rows


def _prose(text: str) -> str:
    return _PIECE.sub(_piece, _QUOTES.sub(r"\1> ", text))


def _piece(found: re.Match[str]) -> str:
    if found["escaped"] is not None:
        return found[0]
    if found["code"] is not None:
        return _code(found["inner"])
    if found["stray"] is not None:
        return "\\`" * len(found[0])
    if found["link"] is not None:
        target = found["angled"] if found["angled"] is not None else found["plain"]
        return _link(_prose(found["text"]), target or "")
    if found["masked"] is not None:
        return "]\\("
    return "\\|\\|"


def _code(inner: str) -> str:
    if "`" in inner:
        # Discord ends some of these elsewhere; the look of a backtick is kept.
        inner = inner.replace("`", "ˋ")
    return f"`{inner}`"


def _link(text: str, target: str) -> str:
    if not re.match(r"https?://[^\s<>]+$", target):
        return f"{text} ({_prose(target)})" if target else text
    if text.strip() in ("", target):
        return f"<{target}>"
    return f"{text} (<{target}>)"
