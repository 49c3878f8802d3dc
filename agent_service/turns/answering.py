"""Takes answers to decisions: from those whose answer counts, once, and for good."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from agent_service.contract.decisions import DecisionAnswer, DecisionState, DecisionView
from agent_service.contract.errors import BadRequest, Conflict, Forbidden, NotFound
from agent_service.contract.events import (
    DecisionApproved,
    DecisionResolved,
    Event,
    TurnWaiting,
)
from agent_service.egress.allow import HostPattern
from agent_service.egress.hosts import Hosts
from agent_service.policy.policies import Change, Policies
from agent_service.store import audit, conversations, decisions, hosts, policies, turns
from agent_service.store.database import Database
from agent_service.store.decisions import StoredDecision
from agent_service.store.turns import StoredTurn
from agent_service.turns.log import TurnLog

_STATES: dict[str, DecisionState] = {"allow": "allowed", "deny": "denied", "answer": "answered"}


class _Changed(Exception):
    """Somebody was quicker: look again."""


class Answering:
    """One a service."""

    def __init__(self, database: Database, policies: Policies, hosts: Hosts) -> None:
        self._hosts = hosts
        self._database = database
        self._policies = policies

    async def take(
        self, log: TurnLog, decision_id: str, given: DecisionAnswer
    ) -> tuple[DecisionView, bool]:
        """(how it stands now, whether its turn goes on). Durable once it returns.

        Raises `NotFound`, `Forbidden` where this person's answer does not count (that is noted),
        `BadRequest`, or `AlreadyDecided`.
        """
        while True:
            known, turn = await self._database.tx(self._look, log.turn_id, decision_id)
            missing = _missing(known, given)
            shown = _events(known, given, missing, turn)

            def change(
                db: sa.Connection, known: StoredDecision = known, turn: StoredTurn = turn
            ) -> None:
                now, turn_now = self._look(db, log.turn_id, decision_id)
                if now.approvals != known.approvals or turn_now.state != turn.state:
                    raise _Changed
                self._check(db, now, given)
                if decisions.answer(db, now, given) == 0:
                    self._keep(db, now, given)
                    if known.kind == "network":
                        _tell_feed(db, turn_now, decision_id)
                    else:
                        turns.move(db, log.turn_id, "queued", decision=decision_id)

            try:
                await log.commit(change, *shown)
                break
            except _Changed:
                continue
            except Forbidden as error:
                await self._policies.refused(decision_id, given.decided_by, error.message)
                raise
        view = await self._database.tx(decisions.view, decision_id)
        if known.kind == "network":
            await self._hosts.read_again(await self._database.tx(_workspace, known))
            return view, False
        if given.scope != "once" or given.mode is not None:
            self._policies.newest += 1
            where = Change("conversation", known.conversation)
            if given.scope == "workspace":
                where = Change("workspace", await self._database.tx(_workspace, known))
            await self._policies.changed(where)
        return view, not missing

    async def expire(self, log: TurnLog, known: StoredDecision) -> None:
        """Nobody answered about a host in time. Raises `AlreadyDecided`."""
        turn = await self._database.tx(turns.find, known.turn_id)

        def change(db: sa.Connection) -> None:
            now = turns.find(db, known.turn_id)
            if now.state != turn.state:
                raise _Changed
            decisions.settle(db, known.id, "expired")
            _tell_feed(db, now, known.id)

        with contextlib.suppress(_Changed):  # the next look finds it again
            await log.commit(change, *_told(DecisionResolved(known.id, "expired"), turn))

    def _look(
        self, db: sa.Connection, turn_id: str, decision_id: str
    ) -> tuple[StoredDecision, StoredTurn]:
        """As it is now; of several approvals, only those of people who may decide still, and two
        are needed also where an admin said so since."""
        known = decisions.find(db, decision_id)
        if known.turn_id != turn_id:
            raise NotFound("No such decision.")
        # Who allowed it and was taken back since counts no more.
        if known.approvals:
            workspace = _workspace(db, known)
            still = tuple(p for p in known.approvals if policies.decides(db, workspace, p))
            known = replace(known, approvals=still)
        if known.kind == "tool" and known.state == "waiting":
            where = Path(known.shown.cwd)
            needs = self._policies.people_needed(db, known.tool, known.input, where)
            if needs > known.shown.needs:
                known = replace(known, shown=replace(known.shown, needs=needs))
        return known, turns.find(db, turn_id)

    def _check(self, db: sa.Connection, known: StoredDecision, given: DecisionAnswer) -> None:
        self._policies.check_decider(db, _workspace(db, known), given.decided_by)
        # An "answer" to a call that needs two people must not let it go.
        fitting = ("answer", "deny") if known.kind == "question" else ("allow", "deny")
        if given.outcome not in fitting:
            raise BadRequest(
                f"A {known.kind} takes {' or '.join(fitting)}, not {given.outcome}.",
                field="outcome",
            )
        if given.scope != "once" and not (given.outcome == "allow" and known.shown.pattern):
            raise BadRequest("There is no pattern to allow here.", field="scope")
        if given.outcome == "allow" and known.kind == "tool":
            self._check_rules(db, known)
        if given.mode is not None and not (known.kind == "plan" and given.outcome == "allow"):
            raise BadRequest("Only an approved plan goes on in a mode.", field="mode")

    def _check_rules(self, db: sa.Connection, known: StoredDecision) -> None:
        """A call that is let go runs whatever rules came since it was asked about: the CLI looks
        at them before that."""
        holds = self._policies.of(db, _workspace(db, known), known.conversation, None)
        where = Path(known.shown.cwd)
        if rule := holds.touched("deny", known.tool, known.input, where):
            raise Conflict(
                f"A rule that was added since this was asked denies it: `{rule}`.",
                remedy="Deny it, or take the rule back first.",
                field="outcome",
            )

    def _keep(self, db: sa.Connection, known: StoredDecision, given: DecisionAnswer) -> None:
        """What the answer says beyond this one call: a rule, or that planning is over."""
        by, conversation = given.decided_by, known.conversation
        workspace = _workspace(db, known)
        if known.kind == "network" and given.outcome == "allow":
            host = HostPattern(known.input["host"], known.input["port"])
            hosts.add(db, workspace, str(host), f"bridge:{by}")
        if given.scope != "once":
            scope, subject = given.scope, conversation
            if scope == "workspace":
                subject = workspace
            pattern = known.shown.pattern
            if policies.add_rule(db, scope, subject, "allow", pattern, by):
                told = {"scope": scope, "behavior": "allow", "pattern": pattern}
                audit.append(db, "rule.added", by, subject, told)
        if known.kind == "plan" and given.outcome == "allow":
            mode = given.mode or "default"
            if self._policies.of(db, workspace, conversation, None).mode == "plan":
                policies.set_mode(db, "conversation", conversation, mode)
                told = {"scope": "conversation", "mode": mode}
                audit.append(db, "mode.set", by, conversation, told)


def _missing(known: StoredDecision, given: DecisionAnswer) -> int:
    if known.state != "waiting" or given.outcome != "allow":
        return 0
    return max(0, known.shown.needs - len({*known.approvals, given.decided_by}))


def _workspace(db: sa.Connection, known: StoredDecision) -> str:
    return conversations.find(db, known.conversation).workspace


def _events(
    known: StoredDecision, given: DecisionAnswer, missing: int, turn: StoredTurn
) -> list[Event]:
    """What readers of the turn learn. A stream ends with the turn's end, or with what it waits
    for."""
    if not missing:
        state = _STATES[given.outcome]
        resolved = DecisionResolved(known.id, state, given.decided_by, given.reason)
        return _told(resolved, turn) if known.kind == "network" else [resolved]
    if given.decided_by in known.approvals:
        return []
    return [DecisionApproved(known.id, given.decided_by, missing), TurnWaiting(known.id)]


def _told(resolved: DecisionResolved, turn: StoredTurn) -> list[Event]:
    """What readers of a turn learn about a host, for which it never waited."""
    if turn.state == "finished":
        return []
    return [resolved, TurnWaiting(turn.decision or "")] if turn.state == "waiting" else [resolved]


def _tell_feed(db: sa.Connection, turn: StoredTurn, decision_id: str) -> None:
    if turn.state in ("waiting", "finished"):
        turns.settled(db, turn, decision_id)
