"""Decisions: recorded before anyone is asked, answered once, released once."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from agent_service.contract.decisions import DecisionAnswer, DecisionState, DecisionView
from agent_service.contract.errors import AlreadyDecided, NotFound
from agent_service.store import schema


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
    )


def add(db: sa.Connection, *, tool_input: dict[str, Any], **values: Any) -> None:
    """Record a waiting decision."""
    db.execute(
        schema.decision.insert().values(
            state="waiting",
            requested_at=time.time(),
            input=json.dumps(tool_input),  # ASCII: it may hold what is no character
            **values,
        )
    )


def find(db: sa.Connection, decision_id: str) -> StoredDecision:
    """Raises `NotFound`."""
    table = schema.decision
    row = db.execute(sa.select(table).where(table.c.id == decision_id)).first()
    if row is None:
        raise NotFound("No such decision.")
    return _decision(row)


_STATES: dict[str, DecisionState] = {"allow": "allowed", "deny": "denied", "answer": "answered"}


def answer(db: sa.Connection, turn_id: str, decision_id: str, given: DecisionAnswer) -> None:
    """Answer a waiting decision. Raises `NotFound`, or `AlreadyDecided` with how it stands."""
    known = find(db, decision_id)
    if known.turn_id != turn_id:
        raise NotFound("No such decision.")
    settle(
        db,
        decision_id,
        _STATES[given.outcome],
        decided_by=given.decided_by,
        reason=given.reason,
        answers=given.answers,
    )


def settle(
    db: sa.Connection,
    decision_id: str,
    state: DecisionState,
    *,
    decided_by: str = "",
    reason: str = "",
    answers: tuple[tuple[str, tuple[str, ...]], ...] = (),
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


def release(db: sa.Connection, decision_id: str) -> bool:
    """Record that the call is let go. False if it was let go before: never let it go again."""
    table = schema.decision
    return bool(
        db.execute(
            table.update()
            .where(table.c.id == decision_id, table.c.released_at.is_(None))
            .values(released_at=time.time())
        ).rowcount
    )


def due(db: sa.Connection, now: float) -> list[StoredDecision]:
    """Waiting decisions whose time is over."""
    table = schema.decision
    rows = db.execute(sa.select(table).where(table.c.state == "waiting", table.c.expires_at <= now))
    return [_decision(row) for row in rows]


def view(db: sa.Connection, decision_id: str) -> DecisionView:
    found = find(db, decision_id)
    return DecisionView(
        found.id, found.turn_id, found.state, decided_by=found.decided_by, reason=found.reason
    )
