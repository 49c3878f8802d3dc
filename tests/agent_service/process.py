"""The agent service as a real process, to be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Agent, Caller, session_processes

STARTS_WITHIN = 60.0
API_KEY = "test-key"


class ProcessAgent(Agent):
    """`python -m agent_service` on a home, with what it writes to stderr in `log`.

    A subclass may name another `module`, which serves it in a world of its own.

    `before` are words put before the command, such as a program that mounts something first.
    """

    module = "agent_service"

    def __init__(
        self, home: Path, model: ScriptedMessages, *, before: Sequence[str] = (), **settings: Any
    ) -> None:
        super().__init__(home, model, **settings)
        self.log = home / "service.log"
        self._before = tuple(before)
        self._settings = {name.upper(): str(value) for name, value in settings.items()}

    async def start(self, *, ready: bool = True) -> None:
        """`ready=False` does not wait: this start is to fail."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONWARNINGS": "error::ResourceWarning",
            "BASCULE_HOME": str(self.home),
            "AGENT_UPSTREAM_URL": self.model.url,
            "AGENT_API_KEY": API_KEY,
            "AGENT_MODEL_RETRIES": "1",
            "LOG_FORMAT": "json",
            **self._settings,
        }
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._before, sys.executable, "-m", self.module,
                env=environment, stderr=log, cwd=self.home,
            )  # fmt: skip
        self.caller = Caller(self.home)
        async with asyncio.timeout(STARTS_WITHIN):
            while ready and not await self._ready():
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.05)
        if ready:
            await self.deciders("p1")

    async def _ready(self) -> bool:
        try:
            status, _ = await self.caller.call("GET", "/readyz")
        except OSError:
            return False
        return status == 200

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """End the service by a signal, and wait for it."""
        self.process.send_signal(number)
        await self.process.wait()
        await self.caller.http.close()

    async def stop(self) -> None:
        if self.process.returncode is None:
            await self.kill(signal.SIGTERM)

    async def until_running(self, turn_id: str, kind: str = "text.delta") -> None:
        """Wait until the turn has shown an event of this kind."""
        path = f"/v1/turns/{turn_id}/events"
        async with asyncio.timeout(60):
            async for _, event in self.caller.stream(path):
                if event["kind"] == kind:
                    return

    async def no_sessions(self) -> None:
        """Wait until no process of a session is left; the kernel takes a moment to end them."""
        async with asyncio.timeout(10):
            while session_processes(self.home):
                await asyncio.sleep(0.02)


def claude_process(home: Path) -> psutil.Process:
    """The one CLI of this home, not what it started."""
    parents: dict[psutil.Process, int] = {}
    for process in session_processes(home):
        with contextlib.suppress(psutil.NoSuchProcess):  # a command of the agent's that just ended
            parents[process] = process.ppid()
    pids = {process.pid for process in parents}
    (main,) = [process for process, parent in parents.items() if parent not in pids]
    return main
