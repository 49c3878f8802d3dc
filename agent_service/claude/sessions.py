"""Starts Claude Code processes: the factory of sessions for the pool."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path

import structlog
from claude_agent_sdk import ClaudeSDKClient, ClaudeSDKError

from agent_service.claude import options, transcript
from agent_service.claude.calls import MessageCalls
from agent_service.claude.gate import Gate
from agent_service.claude.options import Upstream
from agent_service.claude.outward import Outward
from agent_service.claude.session import ClaudeSession
from agent_service.sandbox import launch
from agent_service.turns.port import Ended, Opening, SessionFailed
from agent_service.workspaces.directory import Workspaces

_log = structlog.get_logger(__name__)

CONNECT_SECONDS = 60

NOT_STARTED = Ended(
    "failed",
    "start_failed",
    "The agent could not be started.",
    "Retry; if it happens again, an operator should run `bascule doctor`.",
    broken=True,
)


class ClaudeSessions:
    """One a service."""

    def __init__(
        self, workspaces: Workspaces, upstream: Upstream, start_script: Path, home: Path
    ) -> None:
        """`home` is what all processes of this deployment are marked with."""
        self._workspaces = workspaces
        self._upstream = upstream
        self._start_script = start_script
        self._home = home
        self._outward = Outward(upstream.api_key)

    async def __call__(self, opening: Opening) -> ClaudeSession:
        """Start and connect a process. Raises `SessionFailed`; cancelled, it leaves none."""
        if opening.resume and not transcript.exists(opening.workspace.config, opening.session_id):
            # It ended before it was told anything: there is nothing to resume.
            opening = replace(opening, resume=False)
        at_rest = opening.release is not None and not (
            opening.resume and transcript.unresolved(opening.workspace.config, opening.session_id)
        )
        session: ClaudeSession | None = None
        calls = MessageCalls()
        mark = (launch.SESSION_MARK, secrets.token_hex(16))

        async def settled() -> None:
            if session is not None:
                await session.settled()

        mode = "default" if opening.release is not None else opening.mode
        gate = Gate(opening.workspace, mode, calls, opening.release, settled)
        client = ClaudeSDKClient(
            options.options(
                opening,
                gate,
                self._workspaces.instructions(opening.workspace),
                self._start_script,
                options.environment(
                    opening, self._upstream, {launch.MARK: str(self._home), mark[0]: mark[1]}
                ),
                self._stderr,
            )
        )
        session = ClaudeSession(client, gate, calls, opening, self._outward, mark, at_rest=at_rest)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect()
        except BaseException as error:
            await asyncio.shield(session.close())
            if isinstance(error, (ClaudeSDKError, TimeoutError)):
                reason = self._outward.text(str(error))[:300]
                _log.warning("session.start_failed", reason=reason)
                raise SessionFailed(NOT_STARTED) from error
            raise
        return session

    def _stderr(self, line: str) -> None:
        """What the CLI writes beside its protocol: never to our own stderr, which is the log."""
        _log.debug("claude.stderr", line=self._outward.text(line)[:300])
