"""One start of a session; starting the CLI without a sandbox; finding what may have been left.

The start script gives two promises: the CLI dies with the service, even by SIGKILL, and it can be
found by its mark if anything of it is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import time
from pathlib import Path

import psutil
import structlog

from agent_service.broker.broker import Broker
from agent_service.broker.gate import Gate
from agent_service.broker.tokens import SessionToken
from agent_service.egress.exits import Exits
from agent_service.egress.proxy import Attempt, EgressProxy
from agent_service.sandbox.cgroups import Group

_log = structlog.get_logger(__name__)

MARK = "BASCULE_SESSION_OF"
"""Environment variable of every process of a session; its value names the deployment's home."""
SESSION_MARK = "BASCULE_SESSION"
"""The same; its value stands for one start of one session."""
END_SECONDS = 2.0
"""How long the kernel may take to end what was killed, before nobody waits for it."""


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


class Launch:
    """One start of one session. `close` ends everything that belongs to it."""

    def __init__(
        self,
        folder: Path,
        script: Path,
        environment: dict[str, str],
        token: SessionToken,
        gate: Gate | None,
        broker: Broker,
        exits: Exits,
        proxy: EgressProxy | None,
        mark: tuple[str, str],
        group: Group | None = None,
    ) -> None:
        self.script = script
        self.environment = environment
        self.token = token
        """Says for whom the session is. Where it runs on a sign-in, it opens nothing."""
        self._gate = gate
        self._folder = folder
        self._broker = broker
        self._exits = exits
        self._proxy = proxy
        self._mark = mark
        self._group = group
        self._first: list[psutil.Process] = []

    @property
    def pid(self) -> int | None:
        """The process whose end is the end of the session; None before it was started."""
        try:
            return int((self._folder / "pid").read_text())
        except (OSError, ValueError):
            return None

    def take_refusals(self) -> list[Attempt]:
        """Connections that were refused by the lists since the last time, each host once."""
        return [] if self._proxy is None else self._proxy.take_refusals()

    def overrun(self) -> str:
        """For the person, where the kernel ended the session for what it took; else empty."""
        return "" if self._group is None else self._group.overrun()

    def end(self) -> None:
        """End every process of the session, and wait for it. Blocks for some milliseconds."""
        self._end()
        if self._group is not None:
            self._group.end()

    def _end(self) -> None:
        pid = self.pid
        if self._proxy is None or pid is None:
            end_marked(*self._mark)
            return
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.environ().get(self._mark[0]) == self._mark[1]:
                self.started()
                process.kill()
                self._first.append(process)
        self._wait()

    def started(self) -> None:
        """Its process runs: from now on its end can be waited for, also where it ends by itself."""
        with contextlib.suppress(psutil.Error, OSError):
            if (pid := self.pid) is not None:
                below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                self._first = [psutil.Process(int(each)) for each in below]

    def _wait(self) -> None:
        # In a box, the end of its first process is the end of all, whatever they call themselves;
        # the one outside, whose number is known, may be gone a moment before it.
        until = time.monotonic() + END_SECONDS
        while any(map(_lives, self._first)) and time.monotonic() < until:
            time.sleep(0.002)

    async def close(self) -> None:
        """End what is left. Safe to repeat."""
        await asyncio.to_thread(self.end)
        if self._gate is not None:
            await self._broker.shut(self._gate)
        if self._proxy is not None:
            await self._exits.shut(self._proxy)
        await asyncio.to_thread(shutil.rmtree, self._folder, True)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
