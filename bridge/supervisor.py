"""Keeps processes running: starts them in order, restarts those that die, stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

_log = structlog.get_logger(__name__)

CANNOT_START = 2
"""The exit code of a process that says: starting me again cannot help."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
STEADY_SECONDS = 60.0
"""Who has run for so long starts with the shortest pause again."""
READY_SECONDS = 60.0
NEXT_SECONDS = 0.5
"""How long the stop of one process may hold up the stop of the next. The bridge waits for running
turns, which end as soon as the agent service stops."""
STOP_SECONDS = 4.5
"""After so long everything is killed: a stop takes less than 5 s."""


class StartFailed(Exception):
    """A process does not come up. `code` is its exit code, if it has one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Program:
    """`python -m module`. It announces itself in the way of sd_notify(3): `READY=1` to
    `NOTIFY_SOCKET`."""

    name: str
    module: str
    environment: Mapping[str, str]
    arguments: Sequence[str] = ()
    cwd: Path | None = None


@dataclass(slots=True)
class _Child:
    program: Program
    notify: socket.socket
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no process runs."""
    was_ready: bool = False
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    """Programs by order: each is started once the one before is ready; they stop in reverse.

    They run in process groups of their own, so that Ctrl-C in the terminal reaches the supervisor
    only, and get `BASCULE_SUPERVISED`, by which they end when it dies.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        run_dir: Path,
        *,
        output: IO[bytes] | None = None,
        keep_open: Sequence[int] = (),
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`output` takes what the programs write (None: the terminal). `keep_open` are file
        descriptors they inherit."""
        self._programs = programs
        self._run_dir = run_dir
        self._output = output
        self._keep_open = tuple(keep_open)
        self._clock = clock or asyncio.get_running_loop().time
        self._children: list[_Child] = []
        self._stopping = asyncio.Event()
        self._failed: asyncio.Future[StartFailed] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Start everything; returns once all are ready. Raises `StartFailed` with all stopped."""
        for program in self._programs:
            child = _Child(program, self._notify_socket(program))
            child.gone.set()
            self._children.append(child)
            child.keeper = asyncio.create_task(self._keep(child))
            if not await self._first(child.ready, READY_SECONDS):
                await self.stop()
                if self._failed.done():
                    raise self._failed.result()
                raise StartFailed(f"The {program.name} is not ready after {READY_SECONDS:.0f} s.")

    async def _first(self, ready: asyncio.Event, seconds: float) -> bool:
        """False when something failed, or nothing happened in time."""
        waiting = asyncio.create_task(ready.wait())
        failing = asyncio.create_task(self.wait())
        try:
            await asyncio.wait({waiting, failing}, timeout=seconds, return_when="FIRST_COMPLETED")
            return waiting.done() and not failing.done()
        finally:
            waiting.cancel()
            failing.cancel()

    async def wait(self) -> StartFailed:
        """Returns when a program cannot be kept running; never otherwise."""
        return await asyncio.shield(self._failed)

    def pids(self) -> dict[str, int]:
        """The processes that run now, by name."""
        return {
            child.program.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.returncode is None
        }

    async def stop(self) -> None:
        """Stop everything within 5 s. Harmless to repeat."""
        self._stopping.set()
        over = self._clock() + STOP_SECONDS
        for child in reversed(self._children):
            self._signal(child, signal.SIGTERM)
            await _within(child.gone, min(over - self._clock(), NEXT_SECONDS))
        for child in self._children:
            await _within(child.gone, over - self._clock())
        self.kill()
        await asyncio.gather(*(c.keeper for c in self._children if c.keeper is not None))
        for child in self._children:
            child.notify.close()
            self._socket_path(child.program).unlink(missing_ok=True)
        self._children = []

    def kill(self) -> None:
        """End at once what still runs."""
        self._stopping.set()
        for child in self._children:
            if self._alive(child):
                _log.warning("process.killed", name=child.program.name)
            self._signal(child, signal.SIGKILL)

    async def _keep(self, child: _Child) -> None:
        pause = FIRST_PAUSE
        name = child.program.name
        while not self._stopping.is_set():
            started = self._clock()
            try:
                code = await self._run(child)
            except OSError as error:
                self._give_up(StartFailed(f"The {name} cannot be started: {error}."))
                return
            if self._stopping.is_set():
                return
            if code == CANNOT_START and not child.was_ready:
                self._give_up(StartFailed(f"The {name} cannot start.", code))
                return
            if self._clock() - started > STEADY_SECONDS:
                pause = FIRST_PAUSE
            _log.error("process.ended", name=name, reason=_how(code), again_in_seconds=pause)
            await _within(self._stopping, pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _run(self, child: _Child) -> int:
        program = child.program
        child.ready.clear()
        child.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # or what lies in the current folder would run in the place of our modules
            "-m",
            program.module,
            *program.arguments,
            env={
                **program.environment,
                "BASCULE_SUPERVISED": str(os.getpid()),
                "NOTIFY_SOCKET": str(self._socket_path(program)),
            },
            cwd=program.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            process_group=0,
            pass_fds=self._keep_open,
        )
        child.gone.clear()
        if self._stopping.is_set():  # `stop` looked while it was being started
            self._signal(child, signal.SIGKILL)
        listening = asyncio.create_task(self._listen(child))
        try:
            return await child.process.wait()
        finally:
            child.gone.set()
            listening.cancel()

    async def _listen(self, child: _Child) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message = await loop.sock_recv(child.notify, 4096)
            if b"READY=1" in message.split(b"\n"):
                again = child.was_ready
                child.was_ready = True
                child.ready.set()
                if again:
                    _log.info("process.restarted", name=child.program.name)

    def _notify_socket(self, program: Program) -> socket.socket:
        path = self._socket_path(program)
        path.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.bind(str(path))
        return made

    def _socket_path(self, program: Program) -> Path:
        return self._run_dir / f"notify-{program.name.partition(' ')[0]}.sock"

    def _give_up(self, error: StartFailed) -> None:
        if not self._failed.done():
            self._failed.set_result(error)

    @staticmethod
    def _alive(child: _Child) -> bool:
        return child.process is not None and child.process.returncode is None

    @classmethod
    def _signal(cls, child: _Child, number: signal.Signals) -> None:
        if cls._alive(child) and child.process is not None:
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(number)


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set, or after so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0.0)):
            await event.wait()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
