"""Turns, their events and the feed, as functions of one transaction each."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import sqlalchemy as sa

from agent_service.contract.errors import Conflict, NotFound
from agent_service.contract.events import FeedEntry
from agent_service.contract.turns import Outcome, TurnState, TurnView
from agent_service.store import schema

RESTART_GAP = 1_000_000
"""Numbers of deltas are not stored, so after a restart numbering goes on this far ahead."""


@dataclass(frozen=True, slots=True)
class StoredTurn:
    id: str
    conversation: str
    body: dict[str, Any]
    state: TurnState
    outcome: Outcome | None
    reason: str
    decision: str | None


# Composed once: that costs more than to run them.
_FIND = sa.select(schema.turn).where(schema.turn.c.id == sa.bindparam("it"))
_DIGEST = sa.select(schema.turn.c.body_sha256).where(schema.turn.c.id == sa.bindparam("it"))
_NEXT_NUMBER = sa.select(sa.func.coalesce(sa.func.max(schema.turn.c.number), 0) + 1)
_INSERT = schema.turn.insert()
_APPEND = schema.event.insert()
_FEED = schema.feed.insert()
_MOVE = (
    schema.turn.update()
    .where(schema.turn.c.id == sa.bindparam("it"), schema.turn.c.state != "finished")
    .returning(schema.turn.c.conversation)
)


def _turn(row: sa.Row[Any]) -> StoredTurn:
    return StoredTurn(
        id=row.id,
        conversation=row.conversation,
        body=json.loads(row.body),
        state=row.state,
        outcome=row.outcome,
        reason=row.reason,
        decision=row.decision,
    )


def put(
    db: sa.Connection,
    turn_id: str,
    conversation: str,
    body: dict[str, Any],
    state: Literal["queued", "running"] = "queued",
) -> bool:
    """Store a turn, queued or begun at once. False where the same one was stored before.

    Raises `Conflict` where the id stands for another body.
    """
    text = json.dumps(body, sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    known = db.scalar(_DIGEST, {"it": turn_id})
    if known is not None:
        if known != digest:
            raise Conflict(
                "This turn id was used before for another request.",
                remedy="Use a new turn id for a new request.",
                field="turn_id",
            )
        return False
    now = time.time()
    db.execute(
        _INSERT,
        {
            "id": turn_id,
            "number": db.scalar(_NEXT_NUMBER),
            "conversation": conversation,
            "body": text,
            "body_sha256": digest,
            "state": state,
            "created_at": now,
        },
    )
    if state == "running":
        shown = {"turn_id": turn_id, "conversation": conversation, "state": state, "at": now}
        db.execute(_FEED, shown)
    return True


def find(db: sa.Connection, turn_id: str) -> StoredTurn:
    """Raises `NotFound`."""
    row = db.execute(_FIND, {"it": turn_id}).first()
    if row is None:
        raise NotFound("No such turn.")
    return _turn(row)


def view(db: sa.Connection, turn_id: str) -> TurnView:
    """Raises `NotFound`."""
    turn = find(db, turn_id)
    last = db.scalar(
        sa.select(sa.func.max(schema.event.c.seq)).where(schema.event.c.turn_id == turn_id)
    )
    return TurnView(
        turn_id=turn.id,
        conversation=turn.conversation,
        state=turn.state,
        last_seq=last or 0,
        outcome=turn.outcome,
        reason=turn.reason,
        decision=turn.decision,
    )


def unfinished(db: sa.Connection) -> list[StoredTurn]:
    """Turns that are not finished, in the order in which they were put."""
    rows = db.execute(
        sa.select(schema.turn)
        .where(schema.turn.c.state != "finished")
        .order_by(schema.turn.c.number)
    )
    return [_turn(row) for row in rows]


def append(db: sa.Connection, turn_id: str, numbered: Iterable[tuple[int, dict[str, Any]]]) -> None:
    """Store events under their numbers."""
    rows = [
        {"turn_id": turn_id, "seq": seq, "data": json.dumps(data, ensure_ascii=False)}
        for seq, data in numbered
    ]
    if rows:
        db.execute(_APPEND, rows)


def events(db: sa.Connection, turn_id: str, after: int) -> list[tuple[int, dict[str, Any]]]:
    """The stored events numbered above `after`, in order."""
    rows = db.execute(
        sa.select(schema.event.c.seq, schema.event.c.data)
        .where(schema.event.c.turn_id == turn_id, schema.event.c.seq > after)
        .order_by(schema.event.c.seq)
    )
    return [(seq, json.loads(data)) for seq, data in rows]


def next_seq(db: sa.Connection, turn_id: str) -> int:
    """The first number that surely was never used for this turn."""
    last = db.scalar(
        sa.select(sa.func.max(schema.event.c.seq)).where(schema.event.c.turn_id == turn_id)
    )
    state = db.scalar(sa.select(schema.turn.c.state).where(schema.turn.c.id == turn_id))
    # Only a turn that was cut off while it ran can have shown more than is stored; one whose answer
    # had no effect yet is queued again then.
    gap = RESTART_GAP if state == "running" or (state == "queued" and last) else 1
    return cast("int", last or 0) + gap


def move(
    db: sa.Connection,
    turn_id: str,
    state: TurnState,
    *,
    outcome: Outcome | None = None,
    reason: str = "",
    decision: str | None = None,
) -> None:
    """Change a turn's state and tell the feed. A finished turn stays finished."""
    now = time.time()
    row = db.execute(
        _MOVE,
        {
            "it": turn_id,
            "state": state,
            "outcome": outcome,
            "reason": reason,
            "decision": decision,
            "finished_at": now if state == "finished" else None,
        },
    ).first()
    if row is not None and state != "queued":
        shown = {"turn_id": turn_id, "conversation": row.conversation, "state": state, "at": now}
        db.execute(_FEED, shown)


def settled(db: sa.Connection, turn: StoredTurn, decision: str) -> None:
    """Tell the feed of a decision that was settled while nobody reads its turn."""
    shown = {"turn_id": turn.id, "conversation": turn.conversation, "state": turn.state,
             "at": time.time(), "decision": decision}  # fmt: skip
    db.execute(_FEED, shown)


def feed_place(db: sa.Connection) -> int:
    """The highest number the feed ever had."""
    last = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'feed'")
    return int(db.scalar(last) or 0)


def feed(db: sa.Connection, after: int, limit: int = 500) -> Sequence[FeedEntry]:
    """The feed above `after`, in order."""
    rows = db.execute(
        sa.select(schema.feed)
        .where(schema.feed.c.seq > after)
        .order_by(schema.feed.c.seq)
        .limit(limit)
    )
    return [
        FeedEntry(row.seq, row.turn_id, row.conversation, row.state, row.decision) for row in rows
    ]
