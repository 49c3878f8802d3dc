"""Which rule "allow this pattern" would make of a call, and what that means in words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from agent_service.contract.errors import BadRequest
from agent_service.policy.rules import checked, escaped, runs_others

# Nothing that a shell would read as more than words.
_WORDS = re.compile(r"[A-Za-z0-9_ ,.:=@%+/-]+")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_HAS_SUBCOMMANDS = frozenset(
    {"git", "npm", "pnpm", "yarn", "pip", "pip3", "uv", "cargo", "go", "make", "docker", "podman"}
    | {"kubectl", "apt", "apt-get", "poetry", "gh", "bundle", "mvn", "gradle", "dotnet", "npx"}
)
_HARMLESS_ENOUGH = frozenset(
    {"touch", "mkdir", "cp", "ls", "cat", "grep", "head", "tail", "wc", "diff"}
    | {"uniq", "cut", "tr", "tree", "stat", "file", "du", "df", "date", "echo", "printf", "jq"}
    | {"pytest", "ruff", "mypy", "eslint", "prettier", "tsc", "jest", "vitest", "black", "isort"}
)
"""Whatever words follow, they do what their name says. Of other commands, only the very one that
was shown can be allowed for later."""
_RUN = frozenset({"run", "exec", "x", "dlx", "tool"})
"""Subcommands that run a program, which they name next."""
_NO_EXACT = re.compile(r"[*;&|<>`\r\n]|\$\(")
"""In a rule `*` stands for anything; chains and redirections the CLI judges piece by piece."""
_FILES = {"Write": "file_path", "Edit": "file_path", "NotebookEdit": "notebook_path"}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`rule` in the CLI's syntax, `words` for people."""

    rule: str
    words: str


def suggestion(tool: str, tool_input: dict[str, Any], workdir: Path) -> Suggestion | None:
    """None where no rule would mean calls like this one and no more than that."""
    made = _made(tool, tool_input, workdir)
    if made is None:
        return None
    try:
        checked("allow", made.rule)
    except BadRequest:
        return None
    return made


def _made(tool: str, tool_input: dict[str, Any], workdir: Path) -> Suggestion | None:
    if tool == "Bash":
        return _command(str(tool_input.get("command", "")).strip())
    if tool == "WebFetch":
        try:
            host = urlsplit(str(tool_input.get("url", ""))).hostname
        except ValueError:
            return None
        if host is None or not _HOST.fullmatch(host):
            return None
        return Suggestion(f"WebFetch(domain:{host})", f"any page of {host}")
    if tool in _FILES:
        return _file(str(tool_input.get(_FILES[tool], "")), workdir)
    return None


def _command(command: str) -> Suggestion | None:
    start = _start(command.split()) if _WORDS.fullmatch(command) else ""
    if start:
        return Suggestion(f"Bash({start} *)", f"any command that begins with `{start}`")
    if not command or _NO_EXACT.search(command):
        return None
    return Suggestion(f"Bash({escaped(command)})", "exactly this command")


def _start(words: list[str]) -> str:
    """The first words of commands that are alike; empty where there is no telling what they do."""
    if not words:
        return ""
    if words[0] in _HARMLESS_ENOUGH:
        return words[0]
    if words[0] not in _HAS_SUBCOMMANDS or len(words) < 2 or not words[1][0].isalpha():
        return ""
    if words[1] not in _RUN:
        return "" if words[0] == "npx" and runs_others(words[1]) else f"{words[0]} {words[1]}"
    # `uv run python` would run anything.
    if words[1] != "run" or len(words) < 3 or not words[2][0].isalpha() or runs_others(words[2]):
        return ""
    return f"{words[0]} run {words[2]}"


def _file(name: str, workdir: Path) -> Suggestion | None:
    root = os.path.realpath(workdir)
    try:
        inside = PurePosixPath(os.path.relpath(os.path.realpath(Path(workdir, name)), root))
    except ValueError:
        return None
    plain = re.fullmatch(r"[A-Za-z0-9_ ./-]+", str(inside)) is not None
    if not plain or inside.is_absolute() or any(p.startswith(".") for p in inside.parts):
        return None
    folder = inside.parent
    if str(folder) == ".":
        return Suggestion(f"Edit(./{inside})", f"any change of the file {inside}")
    return Suggestion(f"Edit({folder}/**)", f"any change of files in {folder}/")
