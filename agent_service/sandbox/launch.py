"""How the CLI is started. Until the sandbox is part of it, one person only may be served.

The start script gives two promises: the CLI dies with the service, even by SIGKILL, and it can be
found by its mark if anything of it is left.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import psutil
import structlog

_log = structlog.get_logger(__name__)

MARK = "BASCULE_SESSION_OF"
"""Environment variable of every process of a session; its value names the deployment's home."""


class LaunchImpossible(Exception):
    """The CLI cannot be started here; `remedy` says what to install."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def write_start_script(run_dir: Path, cli: Path) -> Path:
    """The script to give the SDK as `cli_path`. Raises `LaunchImpossible`."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise LaunchImpossible("`setpriv` is missing.", remedy="apt-get install util-linux")
    if not os.access(cli, os.X_OK):
        raise LaunchImpossible(
            f"The Claude CLI is not at {cli}.",
            remedy="Install the requirements again, or correct AGENT_CLAUDE_CLI.",
        )
    script = run_dir / "claude"
    # nice: a busy agent must not starve the bridge, which streams.
    command = f'exec {shlex.quote(setpriv)} --pdeathsig KILL nice -n 5 {shlex.quote(str(cli))} "$@"'
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(0o700)
    return script


def sweep(home: Path) -> int:
    """End processes of sessions that an earlier service of this home left; gives how many.

    Processes of the service that runs now do not exist yet when this is called.
    """
    ended = 0
    wanted = str(home)
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == wanted:
                process.kill()
                ended += 1
        except psutil.Error:
            continue
    if ended:
        _log.warning("sessions.swept", processes=ended)
    return ended
