"""Which rule "allow this pattern" would make of a call, and what that means in words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from agent_service.contract.errors import BadRequest
from agent_service.policy.rules import checked, escaped

# Nothing that a shell would read as more than words.
_WORDS = re.compile(r"[A-Za-z0-9_ ,.:=@%+/-]+")
_HAS_SUBCOMMANDS = frozenset(
    {"git", "npm", "pnpm", "yarn", "pip", "pip3", "uv", "cargo", "go", "make", "docker", "podman"}
    | {"kubectl", "apt", "apt-get", "poetry", "gh", "bundle", "mvn", "gradle", "dotnet", "npx"}
)
_HARMLESS_ENOUGH = frozenset(
    {"touch", "mkdir", "cp", "ls", "cat", "grep", "rg", "head", "tail", "wc", "diff", "sort"}
    | {"uniq", "cut", "tr", "tree", "stat", "file", "du", "df", "date", "echo", "printf", "jq"}
    | {"pytest", "ruff", "mypy", "eslint", "prettier", "tsc", "jest", "vitest", "black", "isort"}
)
"""Whatever words follow, they do what their name says. Of other commands, only the very one that
was shown can be allowed for later."""
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
        return Suggestion(f"WebFetch(domain:{host})", f"any page of {host}") if host else None
    if tool in _FILES:
        return _file(str(tool_input.get(_FILES[tool], "")), workdir)
    return None


def _command(command: str) -> Suggestion | None:
    words = command.split()
    if not words or not _WORDS.fullmatch(command):
        return None
    start = ""
    if words[0] in _HAS_SUBCOMMANDS and len(words) > 1 and words[1][0].isalpha():
        start = f"{words[0]} {words[1]}"
        if words[1] == "run" and len(words) > 2:
            start += f" {words[2]}"
    elif words[0] in _HARMLESS_ENOUGH:
        start = words[0]
    if start:
        return Suggestion(f"Bash({start} *)", f"any command that begins with `{start}`")
    return Suggestion(f"Bash({escaped(command)})", "exactly this command")


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
