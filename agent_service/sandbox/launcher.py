"""Prepares how one session's CLI is started, and what must end with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agent_service.broker.broker import Broker
from agent_service.broker.tokens import Grant, SessionToken
from agent_service.credentials import directory
from agent_service.egress.exits import Exits
from agent_service.egress.presets import SIGN_IN
from agent_service.sandbox import launch
from agent_service.sandbox.box import Box
from agent_service.sandbox.cgroups import Cgroups, Group
from agent_service.sandbox.launch import Launch
from agent_service.sandbox.limits import Limits
from agent_service.sandbox.watchdog import Watchdog
from agent_service.turns.port import OwnSignIn
from agent_service.workspaces.directory import Workspace

FOLDER = "s"
"""Under the folder of sockets: one folder a live session."""
FROM_THE_SDK = ("CLAUDE_CODE_ENTRYPOINT", "CLAUDE_AGENT_SDK_VERSION", "LANG", "TZ")
"""What the SDK adds to the environment, and what of the service's own may reach the CLI."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class House:
    """What all launches of a service have in common."""

    home: Path
    run_dir: Path
    cli: Path
    limits: Limits
    sandboxed: bool
    cap_usd: float | None
    exits: Exits
    """The ways to the hosts beyond the model."""
    groups: Cgroups | None = None
    """None where no control groups were handed to the service."""


class Launcher:
    """Makes launches: a token, sockets, a script, an environment."""

    def __init__(self, house: House, broker: Broker) -> None:
        self._house = house
        self._broker = broker

    def clean(self) -> None:
        """At start: end and remove what an earlier service left."""
        launch.sweep(self._house.home)
        shutil.rmtree(self._house.run_dir / FOLDER, ignore_errors=True)

    async def launch(
        self,
        conversation: str,
        workspace: Workspace,
        own: dict[str, str],
        sign_in: OwnSignIn | None = None,
    ) -> Launch:
        """Everything for one start of a session but the process itself. `own` is for its
        environment. With a `sign_in`, which needs the sandbox, it has no way to the broker.

        Failing or cancelled, it leaves nothing behind.
        """
        house = self._house
        name = secrets.token_hex(5)
        folder = house.run_dir / FOLDER / name
        mark = (launch.SESSION_MARK, secrets.token_hex(16))
        grant = Grant(name, conversation, workspace.id, cap_usd=house.cap_usd)
        own = {
            **own,
            **house.exits.network.environment,
            launch.MARK: str(house.home),
            mark[0]: mark[1],
        }
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, True)
            folder.mkdir(mode=0o700, parents=True)
            group = None
            if house.groups is not None:
                # Not in a thread, which a cancellation would leave behind: it takes a moment.
                group = house.groups.make(name)
                undo.push_async_callback(asyncio.to_thread, group.end)
            if sign_in is not None:
                made = await self._on_sign_in(
                    grant, folder, workspace, own, sign_in, mark, group, undo
                )
            else:
                made = await self._by_broker(grant, folder, workspace, own, mark, group, undo)
            undo.pop_all()
        return made

    async def _by_broker(
        self,
        grant: Grant,
        folder: Path,
        workspace: Workspace,
        own: dict[str, str],
        mark: tuple[str, str],
        group: Group | None,
        undo: contextlib.AsyncExitStack,
    ) -> Launch:
        house = self._house
        socket = folder / "model.sock" if house.sandboxed else None
        gate = await _kept(undo, self._broker.open(grant, socket), self._broker.shut)
        token = gate.token
        own["ANTHROPIC_AUTH_TOKEN"] = token.secret
        if socket is None:
            script = launch.write_start_script(folder, house.cli)
            environment = {
                **own,
                "ANTHROPIC_BASE_URL": gate.url,
                "CLAUDE_CONFIG_DIR": str(workspace.config),
                "HOME": str(workspace.home),
                "TMPDIR": str(workspace.home),
            }
            return Launch(
                folder, script, environment, token, gate, self._broker, house.exits, None, mark
            )
        opening = house.exits.open(token, folder / "egress.sock")
        proxy = await _kept(undo, opening, house.exits.shut)
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
            inside=await asyncio.to_thread(self._shared, workspace, workspace.config),
            blank=await asyncio.to_thread(directory.blank, workspace.config),
            readable=tuple(house.exits.network.readable),
            group=None if group is None else group.procs,
        )
        environment = box.environment(own)
        script = box.write((*environment, *FROM_THE_SDK))
        return Launch(
            folder, script, environment, token, gate, self._broker, house.exits, proxy, mark, group
        )

    def _shared(self, workspace: Workspace, config: Path) -> dict[Path, Path]:
        """The workspace's folders that a session has in its config directory, whichever that is, so
        that a conversation can go on in the other way.

        Every session has them mounted, also where they are already: what is mounted, no agent can
        replace by a link, which would lead the next session's mount elsewhere.
        """
        shared = {config / name: workspace.config / name for name in directory.SHARED}
        for source in shared.values():
            directory.make_folder(source)
        return shared

    async def _on_sign_in(
        self,
        grant: Grant,
        folder: Path,
        workspace: Workspace,
        own: dict[str, str],
        sign_in: OwnSignIn,
        mark: tuple[str, str],
        group: Group | None,
        undo: contextlib.AsyncExitStack,
    ) -> Launch:
        house = self._house
        token = SessionToken.mint(grant)
        token.person, token.credential = sign_in.person, sign_in.credential
        await asyncio.to_thread(directory.ready, sign_in.config)
        shared = await asyncio.to_thread(self._shared, workspace, sign_in.config)
        opening = house.exits.open(token, folder / "egress.sock", SIGN_IN)
        proxy = await _kept(undo, opening, house.exits.shut)
        box = Box(
            folder=folder,
            cli=house.cli,
            work=workspace.work,
            config=sign_in.config,
            model_socket=None,
            egress_socket=proxy.path,
            uid=os.geteuid(),
            gid=os.getegid(),
            limits=house.limits,
            inside=shared,
            blank=tuple(sign_in.config / name for name in directory.STEERING),
            readable=tuple(house.exits.network.readable),
            group=None if group is None else group.procs,
        )
        environment = box.environment(own)
        script = box.write((*environment, *FROM_THE_SDK))
        return Launch(
            folder, script, environment, token, None, self._broker, house.exits, proxy, mark, group
        )

    def watchdog(
        self, launched: Launch, workspace: Workspace, sign_in: OwnSignIn | None = None
    ) -> Watchdog | None:
        """For a session that was started; None where it is gone already."""
        launched.started()
        pid = launched.pid
        if pid is None:
            return None
        folders = [workspace.work, workspace.config]
        if sign_in is not None:
            folders.append(sign_in.config)
        return Watchdog(pid, tuple(folders), self._house.limits)


async def _kept(
    undo: contextlib.AsyncExitStack,
    opening: Coroutine[Any, Any, _T],
    shut: Callable[[_T], Awaitable[None]],
) -> _T:
    """What was opened, to be shut if the rest fails. Cancelled in the middle, it is opened to the
    end first: half open, nobody could shut it."""
    task = asyncio.ensure_future(opening)
    try:
        made = await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and task.exception() is None:
            await shut(task.result())
        raise
    undo.push_async_callback(shut, made)
    return made
