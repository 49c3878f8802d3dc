"""All turns of the service: one at a time a conversation, different conversations side by side."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal
from weakref import WeakValueDictionary

import sqlalchemy as sa
import structlog

from agent_service.contract.decisions import DecisionAnswer, DecisionState, DecisionView
from agent_service.contract.errors import AlreadyDecided, Forbidden, NotFound, Unavailable
from agent_service.contract.events import DecisionResolved
from agent_service.contract.turns import ConversationView, TurnRequest, TurnView
from agent_service.egress.hosts import Hosts
from agent_service.policy.policies import Change
from agent_service.store import conversations, decisions, turns, workspaces
from agent_service.store.database import Database
from agent_service.store.decisions import StoredDecision
from agent_service.store.turns import StoredTurn
from agent_service.turns.answering import Answering
from agent_service.turns.driver import Begun, TurnDriver
from agent_service.turns.ends import REVOKED, Ends
from agent_service.turns.interruptions import Interruptions
from agent_service.turns.lanes import Lanes
from agent_service.turns.log import TurnLog
from agent_service.turns.openings import Openings
from agent_service.turns.pool import SessionPool
from agent_service.turns.port import Ended, SessionFailed
from agent_service.turns.readers import Readers

_log = structlog.get_logger(__name__)


class TurnRunner:
    """Queues turns and answers for them. `start` first; after `stop` no process is left."""

    def __init__(
        self,
        database: Database,
        pool: SessionPool,
        openings: Openings,
        driver: TurnDriver,
        ends: Ends,
        interruptions: Interruptions,
        hosts: Hosts,
        *,
        one_workspace: bool,
        clock: Callable[[], float] = time.time,
        housekeeping_seconds: float = 5,
    ) -> None:
        """`one_workspace` refuses a second workspace: without a sandbox nothing keeps two apart."""
        self._database = database
        self._pool = pool
        self._driver = driver
        self._openings = openings
        self.workspaces = openings.workspaces
        self.readers = Readers(database)
        self._ends = ends
        self._interruptions = interruptions
        self._policies = openings.policies
        self._policies.changed = self.govern
        self._answering = Answering(database, openings.policies, hosts)
        self._one_workspace = one_workspace
        self._clock = clock
        self._housekeeping_seconds = housekeeping_seconds
        self._lanes = Lanes(driver, ends, self.readers, again_seconds=housekeeping_seconds)
        self._settling: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._housekeeping: asyncio.Task[None] | None = None
        self._stopping = False

    # ---- life ----

    async def start(self) -> None:
        """Take up what the last run left. A turn that ran then is not run again: it ends as
        interrupted, or asks whether to. Queued ones run, waiting ones wait on."""
        for turn in await self._database.tx(turns.unfinished):
            state = turn.state
            if state == "running":
                log = await self.readers.log(turn.id)
                state = await self._interruptions.settle(log)
                self.readers.forget(turn.id)
            if state == "waiting":
                self._lanes.waiting[turn.conversation] = turn.id
            elif state == "queued":
                first = turn.decision is not None
                self._lanes.enqueue(turn.conversation, turn.id, first=first)
        self._housekeeping = asyncio.create_task(self._housekeep())

    async def _housekeep(self) -> None:
        while True:
            await asyncio.sleep(self._housekeeping_seconds)
            try:
                await self._pool.close_idle()
                for turn_id in await self._ends.record_again():
                    self.readers.forget(turn_id)
                    self.readers.wake_feed()
                for decision in await self._database.tx(decisions.due, self._clock()):
                    async with self._alone(decision.turn_id):
                        await self._expire(decision)
            except Exception:  # noqa: BLE001 - whatever it was, the next round must come
                _log.exception("housekeeping.failed")

    def _alone(self, turn_id: str) -> asyncio.Lock:
        """Answers, stops and expiry of one turn come one after another: none meets another halfway,
        with the turn neither waiting nor queued."""
        return self._settling.setdefault(turn_id, asyncio.Lock())

    async def _expire(self, decision: StoredDecision) -> None:
        # An answer may have come since we looked.
        with contextlib.suppress(AlreadyDecided):
            if decision.kind == "network":
                log = await self.readers.log(decision.turn_id)
                try:
                    await self._answering.expire(log, decision)
                finally:
                    self._forget(decision.turn_id, log)
                self.readers.wake_feed()
                return
            ended = Ended("refused", "expired", "Nobody answered in time.", "Ask again.")
            await self._end_waiting(decision, "expired", ended)

    async def stop(self) -> None:
        """End what runs as interrupted, and close all sessions."""
        self._stopping = True
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        await self._lanes.stop()
        await self._pool.close_all()

    # ---- what callers ask for ----

    async def put(self, turn_id: str, request: TurnRequest) -> TurnView:
        """Store a turn and run it in its place. The same request again changes nothing.

        Raises `Conflict` (the id stands for another request, the conversation is in another
        workspace), `Forbidden` (a second person without a sandbox), `Unavailable`, `StoreFull`.
        """
        if self._stopping:
            raise Unavailable("The agent service is stopping.", remedy="Try again in a moment.")
        self.workspaces.claims.check(request.workspace)

        conversation = request.conversation
        # Where nothing is before it, it begins in the same transaction: that is a commit less
        # between a message and its answer.
        at_once = self._lanes.reserve(conversation)

        def store(db: sa.Connection) -> tuple[bool, TurnView, Begun | None]:
            self._admit(db, request.workspace)
            before = conversations.ensure(db, conversation, request.workspace)
            body = asdict(request)
            state: Literal["queued", "running"] = "running" if at_once else "queued"
            if not turns.put(db, turn_id, conversation, body, state):
                return False, turns.view(db, turn_id), None
            begun = None
            if at_once:
                conversations.in_doubt(db, conversation)
                begun = (StoredTurn(turn_id, conversation, body, state, None, "", None), before)
            return True, TurnView(turn_id, conversation, state, 0), begun

        try:
            new, view, begun = await self._database.tx(store)
        finally:
            if at_once:
                self._lanes.give_back(conversation)
        if new:
            _log.info("turn.queued", turn_id=turn_id, conversation=conversation)
            self.readers.begin(turn_id)
            self._lanes.enqueue(conversation, turn_id, first=begun is not None, begun=begun)
            if conversation in self._lanes.waiting:
                await self._lanes.tell_queued([turn_id])
        return view

    def _admit(self, db: sa.Connection, workspace: str) -> None:
        if self._one_workspace and conversations.workspaces(db) - {workspace}:
            raise Forbidden(
                "This deployment runs without a sandbox and serves one person only.",
                remedy="An operator has to set up the sandbox: see `bascule doctor`.",
            )
        conversations.ensure_workspace(db, workspace)

    async def admit(self, workspace: str) -> None:
        """The workspace exists from now on. Raises `Forbidden` as `put` does."""
        await self._database.tx(self._admit, workspace)

    async def end_sessions(self, workspace: str) -> None:
        """Close the sessions of a workspace whose claim the caller has alone. Raises `Conflict`
        where a turn of it is queued, running or waiting."""
        for conversation in await self._database.tx(workspaces.at_rest, workspace):
            # A session that is being warmed, or a turn that is finished but not yet put away.
            await self._lanes.wait(conversation)
            await self._pool.discard(conversation)

    async def view(self, turn_id: str) -> TurnView:
        """Raises `NotFound`."""
        return await self._database.tx(turns.view, turn_id)

    async def conversation(self, conversation: str) -> ConversationView:
        """Raises `NotFound`."""
        stored, (total, state) = await self._database.tx(
            lambda db: (
                conversations.find(db, conversation),
                conversations.counts(db, conversation),
            )
        )
        return ConversationView(
            conversation=stored.id,
            workspace=stored.workspace,
            state=state or "idle",
            live=stored.id in self._pool,
            mode=(await self._policies.effective(stored.workspace, stored.id, None)).mode,
            model=stored.model or self._openings.default_model,
            turns=total,
        )

    async def warm(
        self, conversation: str, workspace: str, person: str = "", *, own: bool = False
    ) -> None:
        """Have a session ready for a message of this person that is likely to come; `own` is as in
        `TurnRequest`. Does nothing where one is up, or where work or a decision is open."""

        self.workspaces.claims.check(workspace)

        def ensure(db: sa.Connection) -> None:
            self._admit(db, workspace)
            conversations.ensure(db, conversation, workspace)

        await self._database.tx(ensure)
        busy = self._lanes.busy(conversation) or conversation in self._lanes.waiting
        if busy or conversation in self._pool or self._stopping:
            return
        self._lanes.occupy(conversation, self._warm(conversation, person, own))

    async def _warm(self, conversation: str, person: str, own: bool) -> None:
        try:
            await self._openings.warm(conversation, person, own=own)
        except SessionFailed as error:
            _log.warning("warm.failed", conversation=conversation, reason=error.ended.message)
        except Exception:  # noqa: BLE001 - nobody waits for it: the message itself will tell
            _log.exception("warm.failed", conversation=conversation)

    async def close(self, conversation: str) -> None:
        """Close the conversation's idle session; its transcript stays. A turn that waits for a
        decision ends, and its call is denied. Raises `NotFound`."""
        await self._database.tx(conversations.find, conversation)
        if (waiting := self._lanes.waiting.get(conversation)) is not None:
            async with self._alone(waiting):
                turn = await self._database.tx(turns.view, waiting)
                if turn.state == "waiting":
                    decision = await self._database.tx(decisions.find, turn.decision or "")
                    ended = Ended("interrupted", "stopped", "The conversation was closed.")
                    await self._end_waiting(decision, "cancelled", ended)
        if not self._lanes.busy(conversation):
            await self._pool.discard(conversation)

    async def break_off(self, conversations: set[str]) -> int:
        """End the sessions of these conversations at once, and turns that run in them as revoked;
        gives how many. Their processes are gone then."""
        running = {
            control.conversation: control
            for control in self._lanes.running.values()
            if control.conversation in conversations
        }
        for control in running.values():
            control.cut = REVOKED
        live = [c for c in conversations if c in self._pool]
        await asyncio.gather(*(self._pool.discard(c, at_once=True) for c in live))
        return len(live)

    async def interrupt(self, turn_id: str, by: str) -> TurnView:
        """Stop a turn, whatever it does. A finished one stays as it is. Raises `NotFound`."""
        ended = Ended("interrupted", "stopped", f"Stopped by {by}." if by else "Stopped.")
        while True:
            async with self._alone(turn_id):
                turn = await self._database.tx(turns.view, turn_id)
                control = self._lanes.running.get(turn_id)
                if control is None:
                    await self._end_at_rest(turn, ended, by)
                    break
            control.cut = control.cut or ended
            await self._driver.cut(turn.conversation, control)
            try:
                await asyncio.wait_for(control.done.wait(), 5)
            except TimeoutError:
                break
            # It may have come as far as a question in the same moment: that is withdrawn.
        return await self._database.tx(turns.view, turn_id)

    async def _end_at_rest(self, turn: TurnView, ended: Ended, by: str) -> None:
        """End a turn that nobody works on."""
        if turn.state == "waiting" and turn.decision:
            decision = await self._database.tx(decisions.find, turn.decision)
            await self._end_waiting(decision, "cancelled", ended, by)
        elif self._lanes.take_out(turn.conversation, turn.turn_id):
            await self._ends.finish(await self.readers.log(turn.turn_id), ended)
            self.readers.forget(turn.turn_id)
            self.readers.wake_feed()

    async def decide(self, turn_id: str, decision_id: str, given: DecisionAnswer) -> DecisionView:
        """Answer a decision; its turn goes on, unless one more person has to allow it.

        Raises `NotFound`, `Forbidden`, `BadRequest` or `AlreadyDecided`.
        """
        async with self._alone(turn_id):
            turn = await self._database.tx(turns.view, turn_id)
            known = await self._database.tx(self._decision, turn_id, decision_id)
            if known.state == "waiting" and known.shown.expires_at <= self._clock():
                # Its time was over before, and nobody has noticed yet.
                await self._expire(known)
            log = await self.readers.log(turn_id)
            try:
                view, goes_on = await self._answering.take(log, decision_id, given)
            except BaseException:
                self._forget(turn_id, log)
                raise
            if goes_on:
                self._lanes.waiting.pop(turn.conversation, None)
                self._lanes.enqueue(turn.conversation, turn_id, first=True)
            else:
                self._forget(turn_id, log)
        self.readers.wake_feed()
        return view

    @staticmethod
    def _decision(db: sa.Connection, turn_id: str, decision_id: str) -> StoredDecision:
        found = decisions.find(db, decision_id)
        if found.turn_id != turn_id:
            raise NotFound("No such decision.")
        return found

    async def decision(self, turn_id: str, decision_id: str) -> DecisionView:
        """How a decision stands. Raises `NotFound`."""
        await self._database.tx(self._decision, turn_id, decision_id)
        return await self._database.tx(decisions.view, decision_id)

    async def govern(self, change: Change) -> None:
        """A change of the policy acts on the turns that run."""
        await asyncio.gather(
            *(
                self._driver.govern(control)
                for control in list(self._lanes.running.values())
                if control.request is not None
                and change.concerns(control.request.workspace, control.conversation)
            )
        )

    async def _end_waiting(
        self, decision: StoredDecision, state: DecisionState, ended: Ended, by: str = ""
    ) -> None:
        """Settle a decision that was not answered, and end its turn. The call itself is denied
        in the session before any other prompt reaches it."""
        log = await self.readers.log(decision.turn_id)
        # Who stopped it stands beside it.
        reason = "Stopped." if by else ended.message
        resolved = DecisionResolved(decision.id, state, by, reason)
        try:
            await log.commit(
                lambda db: decisions.settle(db, decision.id, state, decided_by=by, reason=reason),
                resolved,
            )
            await self._ends.finish(log, ended)
        finally:
            self._forget(decision.turn_id, log)
        self._lanes.waiting.pop(decision.conversation, None)
        self.readers.wake_feed()
        self._lanes.kick(decision.conversation)

    def _forget(self, turn_id: str, log: TurnLog) -> None:
        if turn_id not in self._lanes.running:
            self.readers.close(turn_id, log)
