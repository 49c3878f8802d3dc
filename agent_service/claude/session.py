"""One live Claude Code process behind the port that turns are run through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog
from claude_agent_sdk import (
    ClaudeSDKClient,
    ClaudeSDKError,
    CLIConnectionError,
    CLINotFoundError,
    ProcessError,
    StreamEvent,
    SystemMessage,
)

from agent_service.claude import options, prompt
from agent_service.claude.calls import MessageCalls
from agent_service.claude.gate import Gate
from agent_service.claude.options import Upstream
from agent_service.claude.translate import Translator
from agent_service.contract.turns import Mode, TurnRequest
from agent_service.turns.port import Deferred, Ended, Opening, SessionFailed, SessionItem
from agent_service.workspaces.directory import Workspaces

_log = structlog.get_logger(__name__)

CONNECT_SECONDS = 60
CLOSE_SECONDS = 10
CRASHED = Ended(
    "failed",
    "agent_crashed",
    "The agent's process ended in the middle.",
    "Retry, or just go on: the conversation so far is kept.",
    broken=True,
)


class ClaudeSession:
    """A connected client. Made by `ClaudeSessions`."""

    def __init__(self, client: ClaudeSDKClient, gate: Gate, calls: MessageCalls, opening: Opening):
        self.model = opening.model or ""
        self._client = client
        self._gate = gate
        self._calls = calls
        self._opening = opening
        self._closed = False
        self._cost = 0.0

    async def prompt(self, request: TurnRequest) -> None:
        """Hand over a prompt as blocks that the CLI does not expand."""

        async def one() -> AsyncIterator[dict[str, Any]]:
            yield {
                "type": "user",
                "message": {"role": "user", "content": prompt.content(request)},
                "parent_tool_use_id": None,
            }

        try:
            await self._client.query(one())
        except ClaudeSDKError:
            # The process is gone; `items` says so.
            _log.warning("session.gone", conversation=self._opening.conversation)

    async def items(self) -> AsyncIterator[SessionItem]:
        """Events, then one `Deferred` or `Ended`."""
        translator = Translator(self._opening.workspace.work, self._cost)
        try:
            async for message in self._client.receive_response():
                if isinstance(message, StreamEvent) and message.parent_tool_use_id is None:
                    await self._calls.see(message.event)
                elif isinstance(message, SystemMessage) and message.subtype == "init":
                    self.model = str(message.data.get("model", self.model))
                items = list(translator.items(message))
                self._cost = translator.cost
                for item in items:
                    yield item
                    if isinstance(item, (Deferred, Ended)):
                        return
        except ClaudeSDKError as error:
            _log.warning(
                "session.crashed", conversation=self._opening.conversation, reason=str(error)[:300]
            )
        yield CRASHED

    async def interrupt(self) -> None:
        """Ask the CLI to stop."""
        with contextlib.suppress(ClaudeSDKError):
            await self._client.interrupt()

    async def set_mode(self, mode: Mode) -> None:
        """Change the permission mode at once, also in the middle of a turn."""
        if mode == self._gate.mode:
            return
        self._gate.mode = mode
        with contextlib.suppress(ClaudeSDKError):
            await self._client.set_permission_mode(mode)

    async def settled(self) -> None:
        """The unresolved call was answered: from here on the session has its own mode."""
        release = self._opening.release
        if release is not None:
            await self.set_mode(release.then)

    async def close(self) -> None:
        """End the process. Never raises."""
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._client.disconnect()
        except Exception:  # noqa: BLE001 - closing must not fail whatever state the CLI is in
            _log.exception("session.close_failed", conversation=self._opening.conversation)


class ClaudeSessions:
    """The factory of sessions for the pool."""

    def __init__(
        self,
        workspaces: Workspaces,
        upstream: Upstream,
        start_script: Path,
        mark: tuple[str, str],
    ) -> None:
        self._workspaces = workspaces
        self._upstream = upstream
        self._start_script = start_script
        self._mark = mark

    async def __call__(self, opening: Opening) -> ClaudeSession:
        """Start and connect a process. Raises `SessionFailed`; cancelled, it leaves none."""
        session: ClaudeSession | None = None
        calls = MessageCalls()

        async def settled() -> None:
            if session is not None:
                await session.settled()

        mode = "default" if opening.release is not None else opening.mode
        gate = Gate(opening.workspace.work, mode, calls, opening.release, settled)
        client = ClaudeSDKClient(
            options.options(
                opening,
                gate,
                self._workspaces.instructions(opening.workspace),
                self._start_script,
                options.environment(opening, self._upstream, self._mark),
            )
        )
        session = ClaudeSession(client, gate, calls, opening)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect()
        except BaseException as error:
            await asyncio.shield(session.close())
            if isinstance(
                error,
                (CLINotFoundError, CLIConnectionError, ProcessError, ClaudeSDKError, TimeoutError),
            ):
                raise SessionFailed(_why(error)) from error
            raise
        return session


def _why(error: BaseException) -> Ended:
    _log.warning("session.start_failed", reason=str(error)[:300])
    return Ended(
        "failed",
        "start_failed",
        "The agent could not be started.",
        "Retry; if it happens again, an operator should run `bascule doctor`.",
        broken=True,
    )
