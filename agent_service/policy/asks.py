"""Which calls will need a person: a rough guess, made before the CLI applies its own rules.

Guessing "asks" for a call that would not ask costs a restart of the session and is otherwise
harmless: resumed, it simply runs. Guessing "does not ask" for one that does costs a second try
(the call is denied with a request to make it again). So only what is plainly harmless is let by.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from agent_service.contract.turns import Mode

_NEVER = frozenset(
    {"Agent", "Task", "TodoWrite", "TaskCreate", "TaskUpdate", "TaskList", "TaskGet", "TaskOutput"}
    | {"TaskStop", "ToolSearch", "EnterPlanMode", "ListMcpResources", "ReadMcpResource", "Skill"}
    | {"BashOutput", "KillShell", "LS"}
)
_READS = {"Read": "file_path", "Glob": "path", "Grep": "path", "NotebookRead": "notebook_path"}
_EDITS = {"Write": "file_path", "Edit": "file_path", "NotebookEdit": "notebook_path"}
_PLAIN_COMMANDS = frozenset({"ls", "cat", "pwd", "head", "tail", "wc", "echo", "true", "date"})
# No quoting, substitution, redirection, pipe, glob, home or parent folder: only plain words.
_PLAIN_WORDS = re.compile(r"[A-Za-z0-9_ ,.:=@%+-]+(?:/[A-Za-z0-9_ ,.:=@%+-]+)*")
_GUARDED = (".git", ".claude", ".vscode", ".idea", ".husky", ".mcp.json", ".gitconfig", ".bashrc")
_ALWAYS_ASK = frozenset({"AskUserQuestion", "ExitPlanMode"})


def _inside(path: object, workdir: Path) -> bool:
    root = os.path.realpath(workdir)
    try:
        real = os.path.realpath(Path(workdir, str(path)))
    except ValueError:  # no path can have that in it
        return False
    return real == root or real.startswith(root + os.sep)


def _guarded(path: object, workdir: Path) -> bool:
    parts = Path(os.path.realpath(Path(workdir, str(path)))).parts
    return any(part in _GUARDED or part.startswith(".env") for part in parts)


def _plainly_read_only(command: str) -> bool:
    words = command.split()
    return (
        bool(words)
        and words[0] in _PLAIN_COMMANDS
        and _PLAIN_WORDS.fullmatch(command) is not None
        and ".." not in command
        and not any(word.startswith("/") for word in words)
    )


def will_ask(
    tool: str, tool_input: dict[str, Any], mode: Mode, workdir: Path, plans: Path | None = None
) -> bool:
    """Whether a call of the main session in this mode is likely to need a person.

    `plans` is where the CLI has the agent write its plan, in plan mode, before it presents it.
    """
    if tool in _ALWAYS_ASK:
        return mode != "dontAsk"
    if mode in ("dontAsk", "bypassPermissions") or tool in _NEVER:
        return False
    if tool in _READS:
        path = tool_input.get(_READS[tool])
        return path is not None and not _inside(path, workdir)
    if tool in _EDITS and mode == "acceptEdits":
        path = tool_input.get(_EDITS[tool], "")
        return not _inside(path, workdir) or _guarded(path, workdir)
    if tool in _EDITS and mode == "plan" and plans is not None:
        return not _inside(tool_input.get(_EDITS[tool], ""), plans)
    if tool == "Bash":
        return not _plainly_read_only(str(tool_input.get("command", "")))
    return True
