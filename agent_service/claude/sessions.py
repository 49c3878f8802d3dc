"""Starts Claude Code processes: the factory of sessions for the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog
from claude_agent_sdk import ClaudeSDKClient, ClaudeSDKError

from agent_service.broker.broker import Answered
from agent_service.broker.prices import PriceTable
from agent_service.claude import options, transcript
from agent_service.claude.calls import MessageCalls
from agent_service.claude.gate import Gate
from agent_service.claude.outgoing import Outgoing
from agent_service.claude.outward import Outward
from agent_service.claude.own import Doubt, OwnAccount
from agent_service.claude.session import ClaudeSession
from agent_service.claude.told import Told
from agent_service.policy.effective import Effective
from agent_service.sandbox.launch import Launch
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
        secrets: Callable[[], Iterable[str]],
        bypass: bool,
        doubt: Doubt,
        answered: Callable[[Answered], None],
        prices: PriceTable,
    ) -> None:
        """`retries` of a model that fails; `secrets` gives what must leave no session, whoever
        finds it; `bypass`: the mode bypassPermissions may be chosen. `doubt` and `answered` hear of
        sessions on a sign-in, where there is no broker to tell; `prices` says what those would have
        cost."""
        self._told = Told()
        self._doubt = doubt
        self._answered = answered
        self._prices = prices
        self._workspaces = workspaces
        self._launcher = launcher
        self._retries = retries
        self._secrets = secrets
        self._bypass = bypass

    async def __call__(self, opening: Opening) -> ClaudeSession:
        """Start and connect a process. Raises `SessionFailed`; cancelled, it leaves none."""
        config = opening.workspace.config
        if opening.resume and not await asyncio.to_thread(
            transcript.exists, config, opening.session_id
        ):
            # It ended before it was told anything: there is nothing to resume.
            opening = replace(opening, resume=False)
        at_rest = opening.release is not None and not (
            opening.resume
            and await asyncio.to_thread(transcript.unresolved, config, opening.session_id)
        )
        known = opening.release is not None and opening.release.tool_use_id
        if opening.resume and not known:
            await asyncio.to_thread(transcript.lead_on, config, opening.session_id)
        sign_in = opening.sign_in
        launched = await self._launcher.launch(
            opening.conversation,
            opening.workspace,
            options.environment(self._retries, own=sign_in is not None),
            sign_in,
        )
        # A revocation has to find it before it is up.
        launched.token.turn, launched.token.person = opening.turn, opening.person
        launched.token.budgets = opening.budgets
        try:
            session = self._session(opening, launched, at_rest=at_rest)
        except BaseException:
            await asyncio.shield(launched.close())
            raise
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await session.connect()
                if opening.release is None:
                    await session.govern(opening.policy)
            session.watch(self._launcher.watchdog(launched, opening.workspace, sign_in))
        except BaseException as error:
            await asyncio.shield(session.close())
            if isinstance(error, (ClaudeSDKError, TimeoutError)):
                reason = session.cleaned(str(error))[:300]
                _log.warning("session.start_failed", reason=reason)
                raise SessionFailed(NOT_STARTED) from error
            raise
        return session

    def _session(self, opening: Opening, launched: Launch, *, at_rest: bool) -> ClaudeSession:
        """Not connected yet."""
        session: ClaudeSession | None = None
        calls = MessageCalls()
        sign_in, token = opening.sign_in, launched.token
        outward = Outward(token.secret, also=self._secrets)
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
        instructions = self._workspaces.instructions(opening.workspace)
        if not opening.resume:
            self._told.began(opening.conversation, instructions)

        def news() -> str:
            now = self._workspaces.instructions(opening.workspace)
            return self._told.news(opening.conversation, now)

        outgoing = Outgoing(opening.workspace.work)
        client = ClaudeSDKClient(
            options.options(
                opening,
                gate,
                instructions,
                launched,
                outgoing.server(),
                lambda line: _log.debug("claude.stderr", line=outward.text(line)[:300]),
                bypass=self._bypass,
            )
        )
        session = ClaudeSession(
            client,
            gate,
            calls,
            opening,
            outward,
            launched,
            own,
            outgoing,
            news=news,
            at_rest=at_rest,
        )
        return session
