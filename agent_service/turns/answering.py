"""Takes answers to decisions: from those whose answer counts, once, and for good."""

from __future__ import annotations

import sqlalchemy as sa

from agent_service.contract.decisions import DecisionAnswer, DecisionState, DecisionView
from agent_service.contract.errors import BadRequest, Forbidden, NotFound
from agent_service.contract.events import (
    DecisionApproved,
    DecisionResolved,
    Event,
    TurnWaiting,
)
from agent_service.policy.policies import Change, Policies
from agent_service.store import audit, conversations, decisions, policies, turns
from agent_service.store.database import Database
from agent_service.store.decisions import StoredDecision
from agent_service.turns.log import TurnLog

_STATES: dict[str, DecisionState] = {"allow": "allowed", "deny": "denied", "answer": "answered"}


class Answering:
    """One a service."""

    def __init__(self, database: Database, policies: Policies) -> None:
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
            known = await self._database.tx(self._known, log.turn_id, decision_id)
            missing = _missing(known, given)
            shown = _events(known, given, missing)

            def change(db: sa.Connection, known: StoredDecision = known) -> bool:
                now = self._known(db, log.turn_id, decision_id)
                if now.approvals != known.approvals:
                    return False  # somebody was quicker: look again
                self._check(db, now, given)
                if decisions.answer(db, now, given) == 0:
                    self._keep(db, now, given)
                    turns.move(db, log.turn_id, "queued", decision=decision_id)
                return True

            try:
                done = await log.commit(change, *shown)
            except Forbidden as error:
                await self._policies.refused(decision_id, given.decided_by, error.message)
                raise
            if done:
                break
        view = await self._database.tx(decisions.view, decision_id)
        if given.scope != "once" or given.mode is not None:
            self._policies.newest += 1
            await self._policies.changed(Change("conversation", known.conversation))
        return view, not missing

    @staticmethod
    def _known(db: sa.Connection, turn_id: str, decision_id: str) -> StoredDecision:
        known = decisions.find(db, decision_id)
        if known.turn_id != turn_id:
            raise NotFound("No such decision.")
        return known

    def _check(self, db: sa.Connection, known: StoredDecision, given: DecisionAnswer) -> None:
        workspace = conversations.find(db, known.conversation).workspace
        self._policies.check_decider(db, workspace, given.decided_by)
        # An "answer" to a call that needs two people must not let it go.
        fitting = ("answer", "deny") if known.kind == "question" else ("allow", "deny")
        if given.outcome not in fitting:
            raise BadRequest(
                f"A {known.kind} takes {' or '.join(fitting)}, not {given.outcome}.",
                field="outcome",
            )
        if given.scope != "once" and not (given.outcome == "allow" and known.shown.pattern):
            raise BadRequest("There is no pattern to allow here.", field="scope")
        if given.mode is not None and not (known.kind == "plan" and given.outcome == "allow"):
            raise BadRequest("Only an approved plan goes on in a mode.", field="mode")

    def _keep(self, db: sa.Connection, known: StoredDecision, given: DecisionAnswer) -> None:
        """What the answer says beyond this one call: a rule, or that planning is over."""
        by, conversation = given.decided_by, known.conversation
        workspace = conversations.find(db, conversation).workspace
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


def _events(known: StoredDecision, given: DecisionAnswer, missing: int) -> list[Event]:
    if not missing:
        state = _STATES[given.outcome]
        return [DecisionResolved(known.id, state, given.decided_by, given.reason)]
    if given.decided_by in known.approvals:
        return []
    return [DecisionApproved(known.id, given.decided_by, missing), TurnWaiting(known.id)]
