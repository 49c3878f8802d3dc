"""Rules in the CLI's own syntax: `Bash(git status *)`, `Edit(docs/**)`, `WebFetch(domain:x.org)`.

The CLI judges by them. What is here only guesses how it will, so that a call that will ask is
deferred before it does; and it refuses rules that would not do what they say.
"""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent_service.contract.errors import BadRequest
from agent_service.contract.policy import RULE_LIMIT, Behavior

_FORM = re.compile(r"(?P<tool>[A-Za-z][A-Za-z0-9_]*)(?:\((?P<content>.+)\))?", re.DOTALL)
_EDITS = {"Write": "file_path", "Edit": "file_path", "NotebookEdit": "notebook_path"}
_READS = {"Read": "file_path", "Glob": "path", "Grep": "path"}
_KNOWN = frozenset({"Bash", "WebFetch", "WebSearch", "Agent", "Skill", *_EDITS, *_READS})
_CONTENT = {"Bash", "Read", "Edit", "WebFetch", "Agent", "Skill"}
"""Tools whose rules may say which calls they mean. The CLI leaves others unread."""
_DANGEROUS = frozenset({"Bash", "WebFetch", "WebSearch", "Agent", "Skill", *_EDITS, *_READS})
_RUNS_OTHERS = frozenset(
    {"bash", "sh", "zsh", "dash", "fish", "env", "xargs", "sudo", "su", "eval", "exec", "nohup"}
    | {"nice", "timeout", "setsid", "command", "busybox", "ssh", "find", "ksh", "csh", "tcsh"}
    | {"doas", "watch", "script", "parallel", "flock", "stdbuf", "time", "unshare", "chroot"}
)
_INTERPRETERS = re.compile(r"(python|perl|ruby|node|deno|bun|php|lua|awk|gawk|mawk)[0-9.]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PIECES = re.compile(r"[;|&\n(){}`\"'<>$]+")
_BETWEEN = re.compile(r"&&|\|\||[;|&\n]")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. An empty `content` means every call of the tool."""

    tool: str
    content: str = ""

    def covers(self, tool: str, tool_input: dict[str, Any], workdir: Path) -> bool:
        """Whether it seems to mean this call, all of it."""
        return self._fits(tool, tool_input, workdir, every=True)

    def touches(self, tool: str, tool_input: dict[str, Any], workdir: Path) -> bool:
        """Whether it seems to mean any part of this call."""
        return self._fits(tool, tool_input, workdir, every=False)

    def _fits(self, tool: str, given: dict[str, Any], workdir: Path, *, every: bool) -> bool:
        wanted = tool if tool not in _EDITS or self.tool != "Edit" else "Edit"
        if self.tool != wanted:
            return False
        if not self.content:
            return True
        if tool == "Bash":
            parts = _commands(str(given.get("command", "")))
            found = [_command_fits(self.content, part) for part in parts]
            return bool(found) and (all(found) if every else any(found))
        if tool == "WebFetch":
            return _domain_fits(self.content, str(given.get("url", "")))
        if tool in _EDITS or tool in _READS:
            return _path_fits(self.content, given.get({**_EDITS, **_READS}[tool]), workdir)
        return self.content in (str(given.get("subagent_type", "")), str(given.get("skill", "")))

    def may_mean(self, tool: str, tool_input: dict[str, Any], workdir: Path) -> bool:
        """As `touches`, and also where a command is wrapped in others (`env git push`), in
        brackets or in quotes: rather too often than not."""
        if self.touches(tool, tool_input, workdir):
            return True
        if tool != "Bash" or self.tool != "Bash":
            return False
        parts = [part.split() for part in _PIECES.split(str(tool_input.get("command", "")))]
        tails = (" ".join(words[at:]) for words in parts for at in range(len(words)))
        return any(_command_fits(self.content, tail) for tail in tails)

    def __str__(self) -> str:
        return f"{self.tool}({self.content})" if self.content else self.tool


def parse(text: str) -> Rule:
    """Raises `BadRequest`."""
    found = _FORM.fullmatch(text) if text.isprintable() and len(text) <= RULE_LIMIT else None
    if found is None:
        raise BadRequest(
            f"That is not a rule: {text[:80]!r}.",
            remedy="A rule is a tool, or a tool with what is meant: `Bash(git status *)`, "
            "`Edit(docs/**)`, `WebFetch(domain:example.org)`.",
            field="pattern",
        )
    return Rule(found["tool"], found["content"] or "")


def checked(behavior: Behavior, text: str) -> Rule:
    """The rule, if it does what its writer must think it does. Raises `BadRequest`."""
    rule = parse(text)
    if rule.tool not in _KNOWN and not rule.tool.startswith("mcp__"):
        raise _refused(f"There is no tool {rule.tool}.", f"Tools are: {', '.join(sorted(_KNOWN))}.")
    if rule.content and rule.tool in _EDITS and rule.tool != "Edit":
        raise _refused(
            f"A rule for {rule.tool} with a path has no effect.",
            f"`Edit({rule.content})` means every change of such files, by Write too.",
        )
    if rule.content and rule.tool not in _CONTENT:
        raise _refused(f"A rule for {rule.tool} cannot say which calls it means.", "Name the tool.")
    if rule.tool == "WebFetch" and rule.content and not rule.content.startswith("domain:"):
        raise _refused("A rule for WebFetch names a domain.", "Write `WebFetch(domain:x.org)`.")
    if behavior == "allow" and _too_wide(rule):
        raise _refused(
            f"`{rule}` would allow too much: it lets nearly every call of its kind through.",
            "Name what is meant, such as `Bash(npm test *)`. To be asked for less, choose the "
            "mode acceptEdits.",
        )
    return rule


def _refused(message: str, remedy: str) -> BadRequest:
    return BadRequest(message, remedy=remedy, field="pattern")


def _too_wide(rule: Rule) -> bool:
    if rule.tool not in _DANGEROUS:
        return not rule.content and not rule.tool.startswith("mcp__")
    meant = rule.content.removeprefix("domain:") if rule.tool == "WebFetch" else rule.content
    if not re.sub(r"\[[^]]*]", "", meant).strip("*?!:./ ~"):
        return True
    if rule.tool == "Bash":
        return _runs_anything(meant.replace(":*", " *").split())
    if rule.tool in ("Edit", "Read"):
        return meant.startswith(("~", "/")) or ".." in meant.split("/")
    return rule.tool == "WebFetch" and "*" in meant


def _runs_anything(words: list[str]) -> bool:
    """Whether a command's pattern leaves open what is run."""
    while words and _ASSIGNMENT.match(words[0]) and "*" not in words[0]:
        words = words[1:]
    if not words or "*" in words[0]:
        return True
    name, rest = Path(words[0]).name, words[1:]
    if name in _RUNS_OTHERS:
        return any("*" in word for word in rest)
    # `python3 manage.py *` is one program, `python3 *` and `python3 -c *` are any.
    unnamed = bool(rest) and rest[0].startswith(("-", "*"))
    return runs_others(name) and unnamed and any("*" in word for word in rest)


def runs_others(name: str) -> bool:
    """Whether a program runs whatever it is handed."""
    return name in _RUNS_OTHERS or _INTERPRETERS.fullmatch(name) is not None


def asking(tool: str, tool_input: dict[str, Any]) -> tuple[str, ...]:
    """Rules by which the CLI asks for this call even where it takes it for harmless: a command
    that only reads, a file of the workspace, a subagent."""
    if tool != "Bash":
        return (tool,)
    words = [part.split()[0] for part in _commands(str(tool_input.get("command", "")))]
    plain = all(re.fullmatch(r"[\w./+-]+", word) for word in words)
    return tuple(dict.fromkeys(f"Bash({word} *)" for word in words)) if plain else ("Bash",)


ASKING_ANY = ("Bash", "Read", "Agent", "Skill")
"""The same for a call that is not known: every tool that the CLI may run unasked in `default`."""


def escaped(content: str) -> str:
    """Text as the content of a rule, where parentheses and backslashes have a meaning."""
    return content.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def _commands(line: str) -> list[str]:
    return [part.strip() for part in _BETWEEN.split(line) if part.strip()]


def _command_fits(content: str, command: str) -> bool:
    plain = content.replace("\\(", "(").replace("\\)", ")").replace("\\\\", "\\")
    plain = re.sub(r":\*$", " *", plain)
    # `git status *` means `git status` too.
    if plain.endswith(" *") and command == plain[:-2]:
        return True
    pattern = "".join(".*" if c == "*" else re.escape(c) for c in plain)
    return re.fullmatch(pattern, command, re.DOTALL) is not None


def _domain_fits(content: str, url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return fnmatch.fnmatchcase(host, content.removeprefix("domain:").lower())


def _path_fits(content: str, path: object, workdir: Path) -> bool:
    """As in a .gitignore: `docs/**` is anchored, `*.md` is not, `//` begins an absolute path."""
    if not isinstance(path, str):
        return False
    root = os.path.realpath(workdir)
    try:
        real = os.path.realpath(Path(workdir, path))
    except ValueError:
        return False
    if content.startswith("//"):
        return fnmatch.fnmatchcase(real, content[1:])
    inside = os.path.relpath(real, root)
    if inside.startswith(".."):
        return False
    anchored = content.removeprefix("./").removeprefix("/")
    if "/" in content.rstrip("/*"):
        return fnmatch.fnmatchcase(inside, anchored)
    return any(fnmatch.fnmatchcase(part, anchored) for part in (inside, *Path(inside).parts))
