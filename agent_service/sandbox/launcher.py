"""Prepares how one session's CLI is started, and what must end with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from agent_service.broker.broker import Broker, Gate
from agent_service.broker.tokens import Grant
from agent_service.egress.allow import AllowList
from agent_service.egress.proxy import Attempt, EgressProxy, Network
from agent_service.sandbox import launch
from agent_service.sandbox.box import Box
from agent_service.sandbox.limits import Limits
from agent_service.sandbox.watchdog import Watchdog
from agent_service.workspaces.directory import Workspace

FOLDER = "s"
"""Under the folder of sockets: one folder a live session."""
FROM_THE_SDK = ("CLAUDE_CODE_ENTRYPOINT", "CLAUDE_AGENT_SDK_VERSION", "LANG", "TZ")
"""What the SDK adds to the environment, and what of the service's own may reach the CLI."""


@dataclass(frozen=True, slots=True)
class House:
    """What all launches of a service have in common."""

    home: Path
    run_dir: Path
    cli: Path
    limits: Limits
    sandboxed: bool
    cap_usd: float | None
    allowed: Callable[[str], AllowList]
    """The hosts that a workspace may reach, as they are now."""
    attempted: Callable[[str, Attempt], None]
    """Hears of every connection of a workspace beyond the model."""
    network: Network


class Launch:
    """One start of one session. `close` ends everything that belongs to it."""

    def __init__(
        self,
        folder: Path,
        script: Path,
        environment: dict[str, str],
        gate: Gate,
        broker: Broker,
        proxy: EgressProxy | None,
        mark: tuple[str, str],
    ) -> None:
        self.script = script
        self.environment = environment
        self.gate = gate
        self._folder = folder
        self._broker = broker
        self._proxy = proxy
        self._mark = mark

    @property
    def pid(self) -> int | None:
        """The process whose end is the end of the session; None before it was started."""
        try:
            return int((self._folder / "pid").read_text())
        except (OSError, ValueError):
            return None

    def end(self) -> None:
        """End every process of the session, and wait for it. Blocks for some milliseconds."""
        pid = self.pid
        if self._proxy is None or pid is None:
            launch.end_marked(*self._mark)
            return
        # In a box, the end of its first process is the end of all, whatever they call themselves.
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.environ().get(self._mark[0]) == self._mark[1]:
                process.kill()
                psutil.wait_procs([process], timeout=2)

    async def close(self) -> None:
        """End what is left. Safe to repeat."""
        await asyncio.to_thread(self.end)
        await self._broker.shut(self.gate)
        if self._proxy is not None:
            await self._proxy.close()
        await asyncio.to_thread(shutil.rmtree, self._folder, True)


class Launcher:
    """Makes launches: a token, sockets, a script, an environment."""

    def __init__(self, house: House, broker: Broker) -> None:
        self._house = house
        self._broker = broker

    def clean(self) -> None:
        """At start: end and remove what an earlier service left."""
        launch.sweep(self._house.home)
        shutil.rmtree(self._house.run_dir / FOLDER, ignore_errors=True)

    async def launch(self, conversation: str, workspace: Workspace, own: dict[str, str]) -> Launch:
        """Everything for one start of a session but the process itself. `own` is for its
        environment."""
        house = self._house
        name = secrets.token_hex(5)
        folder = house.run_dir / FOLDER / name
        folder.mkdir(mode=0o700, parents=True)
        mark = (launch.SESSION_MARK, secrets.token_hex(16))
        grant = Grant(name, conversation, workspace.id, cap_usd=house.cap_usd)
        socket = folder / "model.sock" if house.sandboxed else None
        gate = await self._broker.open(grant, socket)
        own = {
            **own,
            **house.network.environment,
            "ANTHROPIC_AUTH_TOKEN": gate.token.secret,
            launch.MARK: str(house.home),
            mark[0]: mark[1],
        }
        if socket is None:
            script = launch.write_start_script(folder, house.cli)
            environment = {
                **own,
                "ANTHROPIC_BASE_URL": gate.url,
                "CLAUDE_CONFIG_DIR": str(workspace.config),
                "HOME": str(workspace.home),
                "TMPDIR": str(workspace.home),
            }
            return Launch(folder, script, environment, gate, self._broker, None, mark)
        proxy = EgressProxy(
            name,
            folder / "egress.sock",
            lambda: house.allowed(workspace.id),
            lambda attempt: house.attempted(workspace.id, attempt),
            house.network,
        )
        await proxy.open()
        box = Box(
            folder=folder,
            cli=house.cli,
            work=workspace.work,
            config=workspace.config,
            model_socket=socket,
            egress_socket=proxy.path,
            uid=os.geteuid(),
            gid=os.getegid(),
            limits=house.limits,
        )
        environment = box.environment(own)
        script = box.write((*environment, *FROM_THE_SDK))
        return Launch(folder, script, environment, gate, self._broker, proxy, mark)

    def watchdog(self, launched: Launch, workspace: Workspace) -> Watchdog | None:
        """For a session that was started; None where it is gone already."""
        pid = launched.pid
        if pid is None:
            return None
        return Watchdog(pid, (workspace.work, workspace.config), self._house.limits)
