"""Starts Claude Code processes: the factory of sessions for the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog
from claude_agent_sdk import ClaudeSDKClient, ClaudeSDKError

from agent_service.broker.broker import Answered
from agent_service.broker.prices import PriceTable
from agent_service.claude import options, transcript
from agent_service.claude.calls import MessageCalls
from agent_service.claude.gate import Gate
from agent_service.claude.outward import Outward
from agent_service.claude.own import Doubt, OwnAccount
from agent_service.claude.session import ClaudeSession
from agent_service.policy.effective import Effective
from agent_service.sandbox.launcher import Launcher
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
        self,
        workspaces: Workspaces,
        launcher: Launcher,
        *,
        retries: int,
        secret: str,
        bypass: bool,
        doubt: Doubt,
        answered: Callable[[Answered], None],
        prices: PriceTable,
    ) -> None:
        """`retries` of a model that fails; `secret` must leave no session, whoever finds it;
        `bypass`: the mode bypassPermissions may be chosen. `doubt` and `answered` hear of sessions
        on a sign-in, where there is no broker to tell; `prices` says what those would have cost."""
        self._doubt = doubt
        self._answered = answered
        self._prices = prices
        self._workspaces = workspaces
        self._launcher = launcher
        self._retries = retries
        self._secret = secret
        self._bypass = bypass

    async def __call__(self, opening: Opening) -> ClaudeSession:
        """Start and connect a process. Raises `SessionFailed`; cancelled, it leaves none."""
        if opening.resume and not transcript.exists(opening.workspace.config, opening.session_id):
            # It ended before it was told anything: there is nothing to resume.
            opening = replace(opening, resume=False)
        at_rest = opening.release is not None and not (
            opening.resume and transcript.unresolved(opening.workspace.config, opening.session_id)
        )
        known = opening.release is not None and opening.release.tool_use_id
        if opening.resume and not known:
            await asyncio.to_thread(
                transcript.lead_on, opening.workspace.config, opening.session_id
            )
        session: ClaudeSession | None = None
        calls = MessageCalls()
        sign_in = opening.sign_in
        launched = await self._launcher.launch(
            opening.conversation,
            opening.workspace,
            options.environment(self._retries, own=sign_in is not None),
            sign_in,
        )
        token = launched.token
        outward = Outward(self._secret, token.secret)
        own = None
        if sign_in is not None:
            own = OwnAccount(sign_in, token, outward, self._doubt, self._answered, self._prices)

        async def settled() -> None:
            if session is not None:
                await session.settled()

        config = opening.workspace.config if sign_in is None else sign_in.config
        seen = replace(opening.workspace, config=config)
        start = Effective(options.starting_mode(opening))
        gate = Gate(seen, start, calls, opening.release, settled)
        client = ClaudeSDKClient(
            options.options(
                opening,
                gate,
                self._workspaces.instructions(opening.workspace),
                launched,
                lambda line: _log.debug("claude.stderr", line=outward.text(line)[:300]),
                bypass=self._bypass,
            )
        )
        session = ClaudeSession(
            client, gate, calls, opening, outward, launched, own, at_rest=at_rest
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect()
                if opening.release is None:
                    await session.govern(opening.policy)
        except BaseException as error:
            await asyncio.shield(session.close())
            if isinstance(error, (ClaudeSDKError, TimeoutError)):
                reason = outward.text(str(error))[:300]
                _log.warning("session.start_failed", reason=reason)
                raise SessionFailed(NOT_STARTED) from error
            raise
        session.watch(self._launcher.watchdog(launched, opening.workspace, sign_in))
        return session
