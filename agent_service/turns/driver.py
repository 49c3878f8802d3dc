"""Drives one turn from its session to its end, or to the decision it waits for."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import sqlalchemy as sa
import structlog
from pydantic import TypeAdapter

from agent_service.broker.purses import Purses
from agent_service.contract.events import (
    EgressRefused,
    ToolFinished,
    ToolStarted,
)
from agent_service.contract.turns import Mode, TurnRequest
from agent_service.policy.effective import Effective
from agent_service.store import conversations, decisions, turns
from agent_service.store.conversations import StoredConversation
from agent_service.store.database import Database, StoreFull
from agent_service.store.decisions import StoredDecision
from agent_service.store.turns import StoredTurn
from agent_service.turns import budgets
from agent_service.turns.asking import Asking, executed
from agent_service.turns.ends import FAILED, NO_ROOM, Ends
from agent_service.turns.interruptions import Interruptions
from agent_service.turns.log import TurnLog
from agent_service.turns.openings import Openings
from agent_service.turns.pool import SessionPool
from agent_service.turns.port import (
    AgentSession,
    Deferred,
    Ended,
    SessionFailed,
)

_log = structlog.get_logger(__name__)
_REQUEST = TypeAdapter(TurnRequest)

CRASHED = "agent_crashed"

INTERRUPT_SECONDS = 5
"""How long an interrupted agent may take before its process is ended."""


@dataclass(slots=True)
class Control:
    """How others end a running turn: `cut` says as what it will have ended."""

    conversation: str
    cut: Ended | None = None
    request: TurnRequest | None = None
    """Once it runs."""
    requested: Mode | None = None
    """The mode that was asked for this turn, if any."""
    done: asyncio.Event = field(default_factory=asyncio.Event)


Begun: TypeAlias = tuple[StoredTurn, StoredConversation]
"""A turn that runs, and its conversation as it was before."""


class TurnDriver:
    """Stateless between turns; one instance serves all."""

    def __init__(
        self,
        database: Database,
        pool: SessionPool,
        openings: Openings,
        ends: Ends,
        interruptions: Interruptions,
        asking: Asking,
        purses: Purses,
    ) -> None:
        self._database = database
        self._pool = pool
        self._openings = openings
        self._ends = ends
        self._interruptions = interruptions
        self._asking = asking
        self._purses = purses
        self._policies = openings.policies

    async def run(
        self, log: TurnLog, conversation: str, control: Control, begun: Begun | None = None
    ) -> Literal["waiting", "finished"]:
        """Run a queued turn, or go on with one whose decision was answered. `begun`: it was begun
        already, in the transaction that stored it.

        Afterwards the turn waits or is finished, durably, and the log is closed. Cancelling it
        (the service stops) ends the turn as interrupted.
        """
        try:
            ended = await self._run(log, control, begun)
        except SessionFailed as error:
            ended = replace(error.ended, broken=True)
        except StoreFull:
            ended = NO_ROOM
        except OSError as error:
            _log.exception("turn.failed", turn_id=log.turn_id)
            ended = NO_ROOM if error.errno in (errno.ENOSPC, errno.EDQUOT) else FAILED
        except asyncio.CancelledError:
            await asyncio.shield(self._interruptions.settle(log))
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the turn must end and say so
            _log.exception("turn.failed", turn_id=log.turn_id)
            ended = FAILED
        if ended is None:
            return "waiting"
        # A stop that came while the turn ended by itself must not hide what it said.
        if control.cut is not None and ended.outcome != "completed":
            ended = replace(control.cut, broken=ended.broken)
        if ended.broken:
            await self._pool.discard(conversation)
            crashed = ended.reason == CRASHED and control.cut is None
            if crashed and await self._interruptions.left_open(log):
                return "waiting"
        else:
            await self._pool.rest(conversation)
        await self._ends.finish(log, ended, None if ended.broken else conversation)
        return "finished"

    async def _run(self, log: TurnLog, control: Control, begun: Begun | None) -> Ended | None:
        if begun is None:
            begun = await self._database.tx(self.begin, log.turn_id)
        turn, conversation = begun
        request = _REQUEST.validate_python(turn.body)
        control.request, control.requested = request, request.mode
        if control.cut is not None:
            return control.cut
        paid = self._openings.sign_in(request) is None
        if turn.decision is None and paid and (over := await budgets.over(self._purses, request)):
            # No session was looked at: what may lie in it is as much in doubt as before.
            return replace(over, broken=True)
        if turn.decision is not None:
            decision = await self._database.tx(decisions.find, turn.decision)
            if decision.kind == "plan" and decision.state == "allowed":
                control.requested = decision.then_mode or "default"
            policy = await self._effective(control, conversation.workspace)
            session = await self._openings.resume(
                conversation, decision, request, policy, lambda: control.cut is not None
            )
            if (cut := self._cut_of(control)) is not None:
                # The call was not let go: it is denied before the next prompt.
                return replace(cut, broken=True)
            session.charge(turn.id, request.asker.person, request.budgets)
            await self._govern_again(control, policy)
        else:
            decision = None
            policy = await self._effective(control, conversation.workspace)
            session = await self._openings.session(log, conversation, request, policy)
            if (cut := self._cut_of(control)) is not None:
                return cut
            session.charge(turn.id, request.asker.person, request.budgets)
            await self._govern_again(control, policy)
            await session.prompt(request)
        watch = asyncio.create_task(self._watch(control, turn.conversation, request.limits.seconds))
        try:
            ended = await self._follow(log, session, turn, request, control, decision)
        finally:
            watch.cancel()
        if ended is not None and paid:
            for used in await budgets.near(self._purses, request):
                log.add(used)
        if ended is not None and decision is not None and decision.state == "denied":
            # Its session asks for calls like the denied one, whatever is allowed from here on.
            await self._pool.discard(turn.conversation)
        return ended

    @staticmethod
    def begin(db: sa.Connection, turn_id: str) -> Begun:
        """The turn runs, and from now on its session is in doubt; gives how it was before."""
        turn = turns.find(db, turn_id)
        turns.move(db, turn.id, "running", decision=turn.decision)
        conversation = conversations.find(db, turn.conversation)
        if turn.decision is None:
            conversations.in_doubt(db, turn.conversation)
        return turn, conversation

    @staticmethod
    def _cut_of(control: Control) -> Ended | None:
        """As it is now: it may have changed while something was waited for."""
        return control.cut

    async def govern(self, control: Control) -> None:
        """Something was changed that may concern a running turn: it acts at once."""
        session, request = self._pool.peek(control.conversation), control.request
        if session is None or request is None:
            return
        policy = await self._effective(control, request.workspace)
        try:
            await session.govern(policy)
        except SessionFailed:
            await session.close()

    async def _effective(self, control: Control, workspace: str) -> Effective:
        assert control.request is not None  # noqa: S101 - it runs
        return await self._policies.effective(
            workspace, control.conversation, control.request.asker, control.requested
        )

    async def _govern_again(self, control: Control, policy: Effective) -> None:
        """What was changed while the session was being opened found none to act on."""
        assert control.request is not None  # noqa: S101 - it runs
        if self._policies.newest > policy.number:
            await self.govern(control)

    async def _follow(
        self,
        log: TurnLog,
        session: AgentSession,
        turn: StoredTurn,
        request: TurnRequest,
        control: Control,
        decision: StoredDecision | None,
    ) -> Ended | None:
        steps = 0
        async for item in session.items():
            if isinstance(item, Ended):
                return item
            if isinstance(item, Deferred):
                await self._asking.about_call(log, turn, item)
                return None
            if isinstance(item, EgressRefused) and item.reason == "not_listed":
                await self._asking.about_host(log, turn, request, item)
                continue
            log.add(item)
            if isinstance(item, ToolStarted):
                steps += 1
                if steps > request.limits.steps and control.cut is None:
                    text = f"It took more than {request.limits.steps} steps and was stopped."
                    control.cut = Ended("timed_out", "step_limit", text, "Ask it to go on.")
                    await session.interrupt()
            if (
                isinstance(item, ToolFinished)
                and decision is not None
                and item.id == decision.tool_use_id
            ):
                await self._database.tx(executed, turn.conversation, decision, item)
        return Ended("failed", "agent_crashed", broken=True)

    async def _watch(self, control: Control, conversation: str, seconds: float) -> None:
        """Ends the turn when its time is over, and its process when it does not listen."""
        await asyncio.sleep(seconds)
        text = f"It ran longer than {seconds:.0f} s and was stopped."
        control.cut = Ended("timed_out", "time_limit", text, "Ask it to go on, or for less.")
        await self.cut(conversation, control)

    async def cut(self, conversation: str, control: Control) -> None:
        """Interrupt what runs; if that does not end the turn in time, end its process."""
        session = self._pool.peek(conversation)
        if session is None:
            return
        try:
            async with asyncio.timeout(INTERRUPT_SECONDS):
                await session.interrupt()
                await control.done.wait()
        except TimeoutError:
            await session.close()
