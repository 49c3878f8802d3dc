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
from agent_service.policy.effective import Effective

_NEVER = frozenset(
    {"Agent", "Task", "TodoWrite", "TaskCreate", "TaskUpdate", "TaskList", "TaskGet", "TaskOutput"}
    | {"TaskStop", "ToolSearch", "EnterPlanMode", "ListMcpResources", "ReadMcpResource", "Skill"}
    | {"BashOutput", "KillShell", "LS"}
    | {"mcp__bascule__send_file"}
)
_READS = {"Read": "file_path", "Glob": "path", "Grep": "path", "NotebookRead": "notebook_path"}
EDITS = {"Write": "file_path", "Edit": "file_path", "NotebookEdit": "notebook_path"}
_PLAIN_COMMANDS = frozenset({"ls", "cat", "pwd", "head", "tail", "wc", "echo", "true", "date"})
_FILE_COMMANDS = frozenset({"touch", "mkdir", "rm", "rmdir", "mv", "cp"})
"""In the mode acceptEdits the CLI takes these for changes of files."""
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


def _plain(command: str, names: frozenset[str]) -> bool:
    words = command.split()
    return (
        bool(words)
        and words[0] in names
        and _PLAIN_WORDS.fullmatch(command) is not None
        and ".." not in command
        and not any(word.startswith("/") for word in words)
    )


def why_it_asks(
    tool: str,
    tool_input: dict[str, Any],
    policy: Effective,
    workdir: Path,
    plans: Path | None = None,
) -> str:
    """Why a call of the main session is likely to need a person, in words; empty: it does not.

    `plans` is where the CLI has the agent write its plan, in plan mode, before it presents it.
    """
    mode = policy.mode
    if tool in _ALWAYS_ASK:
        return "" if mode == "dontAsk" else "Only a person can answer it."
    if mode == "dontAsk" or policy.touched("deny", tool, tool_input, workdir):
        return ""  # the CLI refuses it by itself
    if rule := policy.touched("ask", tool, tool_input, workdir):
        return f"The rule {rule} says to ask."
    if tool in _NEVER:
        return ""
    # While it plans, no rule lets an edit by: the CLI would make it.
    planning = mode == "plan" and tool in EDITS
    if mode == "bypassPermissions":
        return ""
    if not planning and policy.touched("allow", tool, tool_input, workdir):
        return ""
    if tool in _READS:
        path = tool_input.get(_READS[tool])
        if path is None or _inside(path, workdir):
            return ""
        return "It reads outside the workspace."
    if tool in EDITS:
        return _why_edit(str(tool_input.get(EDITS[tool], "")), mode, workdir, plans)
    if tool == "Bash":
        return _why_command(str(tool_input.get("command", "")), mode, workdir)
    return f"The tool {tool} is asked in the mode {mode}."


def _why_command(command: str, mode: Mode, workdir: Path) -> str:
    if _plain(command, _PLAIN_COMMANDS):
        return ""
    if mode == "acceptEdits" and _plain(command, _FILE_COMMANDS):
        if not any(_guarded(word, workdir) for word in command.split()[1:]):
            return ""
        return "It changes a file that can make programs do things."
    return f"Commands are asked in the mode {mode}."


def _why_edit(path: str, mode: Mode, workdir: Path, plans: Path | None) -> str:
    if mode == "plan" and plans is not None and _inside(path, plans):
        return ""
    if not _inside(path, workdir):
        return "It changes a file outside the workspace."
    if _guarded(path, workdir):
        return "It changes a file that can make programs do things."
    return "" if mode == "acceptEdits" else f"Changes of files are asked in the mode {mode}."
