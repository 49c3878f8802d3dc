"""Decisions: recorded before anyone is asked, answered once, released once.

Each step stands in the audit log, in the same transaction.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from agent_service.contract import events
from agent_service.contract.decisions import (
    Decision,
    DecisionAnswer,
    DecisionState,
    DecisionView,
)
from agent_service.contract.errors import AlreadyDecided, NotFound
from agent_service.contract.turns import Mode
from agent_service.store import audit, schema

_SELF = "agent_service"


@dataclass(frozen=True, slots=True)
class StoredDecision:
    id: str
    turn_id: str
    conversation: str
    kind: str
    tool: str
    tool_use_id: str
    input: dict[str, Any]
    input_sha256: str
    file_sha256: str
    state: DecisionState
    decided_by: str
    reason: str
    answers: dict[str, list[str]]
    released: bool
    executed: bool
    shown: Decision
    approvals: tuple[str, ...]
    then_mode: Mode | None


def _decision(row: sa.Row[Any]) -> StoredDecision:
    return StoredDecision(
        id=row.id,
        turn_id=row.turn_id,
        conversation=row.conversation,
        kind=row.kind,
        tool=row.tool,
        tool_use_id=row.tool_use_id,
        input=json.loads(row.input),
        input_sha256=row.input_sha256,
        file_sha256=row.file_sha256,
        state=row.state,
        decided_by=row.decided_by,
        reason=row.reason,
        answers=dict(json.loads(row.answers)),
        released=row.released_at is not None,
        executed=row.executed_at is not None,
        shown=_shown(row),
        approvals=tuple(json.loads(row.approvals)),
        then_mode=row.then_mode,
    )


def _shown(row: sa.Row[Any]) -> Decision:
    kept = json.loads(row.shown)
    if kept:
        return events.decision_from_json(kept)
    # Of a release that did not keep it.
    return Decision(row.id, row.turn_id, row.kind, row.tool, row.input, expires_at=row.expires_at)


def add(
    db: sa.Connection,
    shown: Decision,
    *,
    conversation: str,
    tool: str,
    tool_use_id: str,
    tool_input: dict[str, Any],
    input_sha256: str,
    file_sha256: str,
    person: str,
) -> None:
    """Record a waiting decision, as it is about to be shown to people. `person` asked for it."""
    db.execute(
        schema.decision.insert().values(
            id=shown.id,
            turn_id=shown.turn_id,
            conversation=conversation,
            kind=shown.kind,
            tool=tool,
            tool_use_id=tool_use_id,
            input=json.dumps(tool_input),  # ASCII: it may hold what is no character
            input_sha256=input_sha256,
            file_sha256=file_sha256,
            state="waiting",
            requested_at=time.time(),
            expires_at=shown.expires_at,
            shown=json.dumps(asdict(shown)),
        )
    )
    told = {
        "turn": shown.turn_id,
        "person": person,
        "kind": shown.kind,
        "tool": shown.tool,
        "title": shown.title,
        "shown_sha256": hashlib.sha256(shown.shown.encode("utf-8", "replace")).hexdigest(),
        "input_sha256": input_sha256,
        "again": shown.again,
        "needs": shown.needs,
    }
    audit.append(db, "decision.requested", _SELF, shown.id, told)


def find(db: sa.Connection, decision_id: str) -> StoredDecision:
    """Raises `NotFound`."""
    table = schema.decision
    row = db.execute(sa.select(table).where(table.c.id == decision_id)).first()
    if row is None:
        raise NotFound("No such decision.")
    return _decision(row)


_STATES: dict[str, DecisionState] = {"allow": "allowed", "deny": "denied", "answer": "answered"}


def answer(db: sa.Connection, known: StoredDecision, given: DecisionAnswer) -> int:
    """Answer a waiting decision; gives how many more people have to allow it: with 0 it is
    answered. Raises `AlreadyDecided` with how it stands."""
    if known.state == "waiting" and given.outcome == "allow":
        approvals = tuple(dict.fromkeys((*known.approvals, given.decided_by)))
        missing = known.shown.needs - len(approvals)
        db.execute(
            schema.decision.update()
            .where(schema.decision.c.id == known.id)
            .values(approvals=json.dumps(approvals), then_mode=given.mode)
        )
        if missing > 0:
            if given.decided_by not in known.approvals:
                told = {"missing": missing}
                audit.append(db, "decision.approved", given.decided_by, known.id, told)
            return missing
    settle(
        db,
        known.id,
        _STATES[given.outcome],
        decided_by=given.decided_by,
        reason=given.reason,
        answers=given.answers,
        scope=given.scope,
    )
    return 0


def settle(
    db: sa.Connection,
    decision_id: str,
    state: DecisionState,
    *,
    decided_by: str = "",
    reason: str = "",
    answers: tuple[tuple[str, tuple[str, ...]], ...] = (),
    scope: str = "once",
) -> None:
    """Move a waiting decision on, once. Raises `AlreadyDecided`."""
    table = schema.decision
    changed = db.execute(
        table.update()
        .where(table.c.id == decision_id, table.c.state == "waiting")
        .values(
            state=state,
            decided_by=decided_by,
            reason=reason,
            answers=json.dumps([[q, list(a)] for q, a in answers], ensure_ascii=False),
            resolved_at=time.time(),
        )
    ).rowcount
    if not changed:
        now = find(db, decision_id)
        raise AlreadyDecided(
            f"This was {now.state} before.",
            outcome=now.state,
            decided_by=now.decided_by,
            reason=now.reason,
        )
    told = {"outcome": state, "reason": reason, "scope": scope}
    audit.append(db, "decision.resolved", decided_by or _SELF, decision_id, told)


def release(db: sa.Connection, decision_id: str) -> bool:
    """Record that the call is let go. False if it was let go before: never let it go again."""
    table = schema.decision
    first = db.execute(
        table.update()
        .where(
            table.c.id == decision_id,
            table.c.released_at.is_(None),
            table.c.state.in_(("allowed", "answered")),
        )
        .values(released_at=time.time())
    ).rowcount
    if first:
        audit.append(db, "decision.released", _SELF, decision_id)
    return bool(first)


def executed(db: sa.Connection, decision_id: str, *, ok: bool, exit_code: int | None) -> None:
    """The result of the released call came. Only the first counts."""
    table = schema.decision
    first = db.execute(
        table.update()
        .where(
            table.c.id == decision_id,
            table.c.released_at.is_not(None),
            table.c.executed_at.is_(None),
        )
        .values(executed_at=time.time())
    ).rowcount
    if first:
        told = {"ok": ok} | ({} if exit_code is None else {"exit_code": exit_code})
        audit.append(db, "decision.executed", _SELF, decision_id, told)


def asked_for(db: sa.Connection, conversation: str, tool: str, shown: str, *, since: float) -> bool:
    """Whether the same is asked in this conversation and waits for an answer, or was denied since
    then (seconds since 1970)."""
    table = schema.decision
    denied = (table.c.state == "denied") & (table.c.resolved_at >= since)
    rows = db.execute(
        sa.select(table).where(
            table.c.conversation == conversation,
            table.c.tool == tool,
            (table.c.state == "waiting") | denied,
        )
    )
    return any(_decision(row).shown.shown == shown for row in rows)


def asked_in(db: sa.Connection, turn_id: str, tool: str) -> int:
    """How often a turn has asked about this."""
    table = schema.decision
    mine = sa.select(sa.func.count()).where(table.c.turn_id == turn_id, table.c.tool == tool)
    return int(db.execute(mine).scalar_one())


def due(db: sa.Connection, now: float) -> list[StoredDecision]:
    """Waiting decisions whose time is over."""
    table = schema.decision
    rows = db.execute(sa.select(table).where(table.c.state == "waiting", table.c.expires_at <= now))
    return [_decision(row) for row in rows]


def view(db: sa.Connection, decision_id: str) -> DecisionView:
    found = find(db, decision_id)
    return DecisionView(
        found.id,
        found.turn_id,
        found.state,
        decided_by=found.decided_by,
        reason=found.reason,
        approvals=found.approvals,
    )
