"""How a turn gets its session: the live one, a new one, or one brought back with a call in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

from agent_service.contract.events import TurnStarted
from agent_service.contract.turns import TurnRequest
from agent_service.policy.effective import Effective
from agent_service.policy.policies import Policies
from agent_service.policy.rules import asking
from agent_service.store import conversations, decisions
from agent_service.store.conversations import DOUBT, StoredConversation
from agent_service.store.database import Database
from agent_service.store.decisions import StoredDecision
from agent_service.turns.ends import REVOKED
from agent_service.turns.log import TurnLog
from agent_service.turns.pool import SessionPool
from agent_service.turns.port import AgentSession, Opening, OwnSignIn, Release, SessionFailed
from agent_service.workspaces.directory import Workspaces

SETTLE_SECONDS = 15
"""How long a resumed session may take to ask for the call that is known to lie in it."""
DOUBT_SECONDS = 3
"""The same where it is not known whether one does; it asks at once if so."""

UNKNOWN_END = (
    "This call was started before the service stopped, and how it ended is not known. "
    "It was not run again. Look at the state of things before you go on."
)


class Openings:
    """One a service. Every way raises `SessionFailed`, and gives a session in use."""

    def __init__(
        self,
        database: Database,
        pool: SessionPool,
        workspaces: Workspaces,
        policies: Policies,
        *,
        default_model: str | None,
        sign_in_of: Callable[[str], OwnSignIn | None] = lambda _person: None,
        may_begin: Callable[[str], bool] = lambda _person: True,
    ) -> None:
        """`sign_in_of` gives a person's own sign-in where it may be used; `may_begin` whether their
        turns on anything else may begin. Both are asked at every turn."""
        self._may_begin = may_begin
        self._sign_in_of = sign_in_of
        self._database = database
        self._pool = pool
        self.workspaces = workspaces
        self.policies = policies
        self.default_model = default_model

    async def warm(self, conversation_id: str, person: str, *, own: bool) -> None:
        """Open the conversation's session ahead of a message of this person.

        Raises `SessionFailed`.
        """
        conversation = await self._database.tx(conversations.find, conversation_id)
        if conversation.unsettled is None:
            policy = await self.policies.effective(conversation.workspace, conversation.id, None)
            sign_in = self._sign_in_of(person) if own else None
            opening = await self._opening(conversation, None, policy, sign_in=sign_in)
            await self._open(replace(opening, person=person))
            await self._pool.rest(conversation_id)

    async def session(
        self,
        log: TurnLog,
        conversation: StoredConversation,
        request: TurnRequest,
        policy: Effective,
    ) -> AgentSession:
        """The live session, or one that is opened and has nothing unresolved in it."""
        self._check(request.asker.person, self.sign_in(request))
        session = self._pool.take(conversation.id)
        if session is not None and self._pool.opened_for(conversation.id) != (
            self._model(conversation, request),
            self.sign_in(request),
        ):
            # Another model was chosen, or whoever asks now is not the one whose sign-in it runs
            # on, or has another by now.
            await self._pool.discard(conversation.id)
            session = None
        if request.model != conversation.model:  # what is warmed next is for this one
            await self._database.tx(
                lambda db: conversations.update(db, conversation.id, model=request.model)
            )
        resumed = session is None and conversation.started
        if session is None:
            if conversation.unsettled is not None and conversation.started:
                session = await self._settled(log.turn_id, conversation, request, policy)
            else:
                opening = await self._opening(conversation, request, policy)
                session = await self._open(replace(opening, turn=log.turn_id))
        await session.govern(policy)
        log.add(TurnStarted(session.model, resumed))
        return session

    def sign_in(self, request: TurnRequest) -> OwnSignIn | None:
        """The asker's own, where this turn is to use it."""
        return self._sign_in_of(request.asker.person) if request.own else None

    async def _open(self, opening: Opening) -> AgentSession:
        self._check(opening.person, opening.sign_in)
        session = await self._pool.open(opening)
        # Revoked while it was opened: the revocation did not find it among the live ones.
        if not self._may(opening.person, opening.sign_in):
            await self._pool.discard(opening.conversation)
            raise SessionFailed(REVOKED)
        return session

    def _may(self, person: str, own: OwnSignIn | None) -> bool:
        """Whether this person's turns may begin, on this sign-in or else by the broker."""
        return self._may_begin(person) if own is None else self._sign_in_of(own.person) == own

    def _check(self, person: str, own: OwnSignIn | None) -> None:
        if not self._may(person, own):
            raise SessionFailed(REVOKED)

    async def _opening(
        self,
        conversation: StoredConversation,
        request: TurnRequest | None,
        policy: Effective,
        release: Release | None = None,
        sign_in: OwnSignIn | None = None,
    ) -> Opening:
        return Opening(
            conversation=conversation.id,
            workspace=await asyncio.to_thread(self.workspaces.ensure, conversation.workspace),
            session_id=conversation.session_id,
            resume=conversation.started,
            policy=policy,
            model=self._model(conversation, request),
            release=release,
            sign_in=sign_in if request is None else self.sign_in(request),
            person="" if request is None else request.asker.person,
            budgets=() if request is None else request.budgets,
        )

    def _model(self, conversation: StoredConversation, request: TurnRequest | None) -> str | None:
        """`request` says which; what is opened ahead goes by the turn before."""
        chosen = conversation.model if request is None else request.model
        return chosen or self.default_model

    async def _settled(
        self,
        turn: str,
        conversation: StoredConversation,
        request: TurnRequest,
        policy: Effective,
    ) -> AgentSession:
        """A session in which nothing lies unresolved: what may, is denied before any prompt.

        What the session says meanwhile belongs to the turn before and is not shown.
        """
        if conversation.unsettled in (None, DOUBT):
            release, patience = Release.deny_any(UNKNOWN_END), DOUBT_SECONDS
        else:
            decision = await self._database.tx(decisions.find, conversation.unsettled)
            message = decision.reason or "This was not allowed."
            message = UNKNOWN_END if decision.released or decision.shown.again else message
            release = self._release(decision, allow=False, message=message, stop=True)
            patience = SETTLE_SECONDS
        opening = await self._opening(conversation, request, Effective(), release)
        session = await self._open(replace(opening, turn=turn))
        # A call that got its result just before the service died is not asked for again.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                async for _ in session.items():
                    pass
        # It keeps the rules by which what lay there asked: the turn gets a session without.
        await self._pool.discard(conversation.id)
        opening = await self._opening(conversation, request, policy)
        return await self._open(replace(opening, turn=turn))

    async def resume(
        self,
        conversation: StoredConversation,
        decision: StoredDecision,
        request: TurnRequest,
        policy: Effective,
        stopped: Callable[[], bool],
    ) -> AgentSession:
        """The session again, with exactly the decided call let go or denied; neither once the
        turn was `stopped` or its asker's access was revoked."""
        person, own = request.asker.person, self.sign_in(request)
        allow = decision.state in ("allowed", "answered")
        message = decision.reason or "The person did not allow this."
        if decision.shown.again:
            message = f"{UNKNOWN_END} {decision.reason}".strip()
        release = self._release(
            decision,
            allow=allow,
            message=message,
            then=policy,
            stopped=lambda: stopped() or not self._may(person, own),
        )
        opening = await self._opening(conversation, request, Effective(), release)
        return await self._open(replace(opening, turn=decision.turn_id))

    def _release(
        self,
        decision: StoredDecision,
        *,
        allow: bool,
        message: str,
        stop: bool = False,
        then: Effective | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Release:
        async def record() -> bool:
            return not stopped() and await self._database.tx(decisions.release, decision.id)

        return Release(
            tool_use_id=decision.tool_use_id,
            tool=decision.tool,
            input_sha256=decision.input_sha256,
            file_sha256=decision.file_sha256,
            allow=allow,
            message=message,
            stop=stop,
            answers=decision.answers,
            then=then or Effective(),
            record=record,
            must_ask=() if allow else asking(decision.tool, decision.input),
        )
