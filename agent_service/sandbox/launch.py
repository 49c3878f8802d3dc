"""Starting the CLI without a sandbox, and finding what a session may have left.

The start script gives two promises: the CLI dies with the service, even by SIGKILL, and it can be
found by its mark if anything of it is left.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from pathlib import Path

import psutil
import structlog

_log = structlog.get_logger(__name__)

MARK = "BASCULE_SESSION_OF"
"""Environment variable of every process of a session; its value names the deployment's home."""
SESSION_MARK = "BASCULE_SESSION"
"""The same; its value stands for one start of one session."""


class LaunchImpossible(Exception):
    """The CLI cannot be started here; `remedy` says what to install."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def check_cli(cli: Path) -> None:
    """Raises `LaunchImpossible` where the CLI, or what starts it, is not there."""
    if shutil.which("setpriv") is None:
        raise LaunchImpossible("`setpriv` is missing.", remedy="apt-get install util-linux")
    if not os.access(cli, os.X_OK):
        raise LaunchImpossible(
            f"The Claude CLI is not at {cli}.",
            remedy="Install the requirements again, or correct AGENT_CLAUDE_CLI.",
        )


def with_the_service(*more: str) -> list[str]:
    """Words before a command that this process starts, directly, and that must not outlive it.

    The kernel ends it with its parent; a parent that was gone before that was asked for is noticed
    by its number. Left alone, a CLI would settle by itself what waits for an answer (observed).
    `more` are options of setpriv.
    """
    alive = f'[ "$PPID" = {os.getpid()} ] || exit 1; exec "$@"'
    return ["setpriv", "--pdeathsig", "KILL", *more, "/bin/sh", "-c", alive, "sh"]


def write_start_script(folder: Path, cli: Path) -> Path:
    """The script to give the SDK as `cli_path`. Raises OSError."""
    script = folder / "claude"
    # nice: a busy agent must not starve the bridge, which streams.
    words = shlex.join([*with_the_service(), "nice", "-n", "5", str(cli)])
    command = f'exec {words} "$@"'
    script.write_text(f"#!/bin/sh\necho $$ > {shlex.quote(str(folder / 'pid'))}\n{command}\n")
    script.chmod(0o700)
    return script


def end_marked(name: str, value: str) -> int:
    """End every process that has this in its environment; gives how many.

    Also what a command of the agent's left in the background, which outlives the CLI itself.
    """
    ended: set[int] = set()
    while found := [p for p in psutil.process_iter() if _is_marked(p, name, value)]:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=1)
        pids = {process.pid for process in found}
        if pids <= ended:
            break  # the kernel is slow, or does not let us
        ended |= pids
    return len(ended)


def _is_marked(process: psutil.Process, name: str, value: str) -> bool:
    try:
        if process.pid == os.getpid() or process.environ().get(name) != value:
            return False
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def sweep(home: Path) -> int:
    """End processes of sessions that an earlier service of this home left; gives how many.

    Processes of the service that runs now do not exist yet when this is called.
    """
    ended = end_marked(MARK, str(home))
    if ended:
        _log.warning("sessions.swept", processes=ended)
    return ended
