"""What is pending in a conversation: ended before its time, and added to."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from adapters.contract import Address
from bridge.conversations import places
from bridge.people import access
from bridge.store.database import Database
from bridge.store.schema import conversation, is_open, message


def stop_message(con: sa.Connection, db: Database, row: Any) -> bool:
    """Write down that an open message is to be stopped; False when it is over already.

    A queued one is over at once; one that waits for a decision is made ready, so that a worker
    ends it. `row` was read under its conversation's lock (`locked`, `places.find`).
    """
    c = conversation.c
    here = conversation.update().where(c.id == row.conversation)
    if row.status == "queued":
        con.execute(
            message.update()
            .where(message.c.id == row.id)
            .values(status="cancelled", done_at=db.now)
        )
        con.execute(here.values(pending=c.pending - 1))
        return True
    if row.status not in ("running", "waiting"):
        return False
    con.execute(message.update().where(message.c.id == row.id).values(stop_asked=True))
    con.execute(
        here.where(c.waiting_turn == row.turn_id).values(waiting_turn=None, ready_at=db.now)
    )
    return True


def next_instead(con: sa.Connection, db: Database, row: Any) -> int | None:
    """A queued message comes next, and what is in progress before it is to be stopped; gives that
    one's id. Harmless to repeat."""
    c = message.c
    here = con.execute(sa.select(message).where(c.conversation == row.conversation, is_open)).all()
    first = min(one.order for one in here if one.status == "queued")
    if row.order > first or any(one.order == first and one.id < row.id for one in here):
        con.execute(message.update().where(c.id == row.id).values(order=first - 1))
    current = next((one for one in here if one.status != "queued"), None)
    if current is None:
        return None
    stop_message(con, db, current)
    return int(current.id)


def queue(
    con: sa.Connection,
    db: Database,
    home: Any,
    order: int,
    payload: Any,
    *,
    schedule: str | None = None,
    announcement: str | None = None,
) -> int:
    """A message of the bridge's own making, in its place among those of the conversation.
    `schedule` asks it; `announcement` is posted before its answer."""
    made: int = con.execute(
        message.insert()
        .values(
            conversation=home.id,
            order=order,
            payload=payload,
            status="queued",
            turn_id=access.mint("t"),
            agent_conversation=home.agent_conversation,
            after_seq=0,
            stop_asked=False,
            state={},
            received_at=db.now,
            schedule=schedule,
            announcement=announcement,
        )
        .returning(message.c.id)
    ).scalar_one()
    c = conversation.c
    con.execute(
        conversation.update()
        .where(c.id == home.id)
        .values(
            pending=c.pending + 1,
            ready_at=sa.case((c.pending == 0, db.now), else_=c.ready_at),
        )
    )
    return made


def behind_all(con: sa.Connection, home: Any) -> int:
    """The order of a message that comes after all that are open there."""
    query = sa.select(sa.func.max(message.c.order)).where(
        message.c.conversation == home.id, is_open
    )
    return int(con.scalar(query) or 0)


def home_of(con: sa.Connection, conversation_id: str) -> Any:
    """The conversation's row, locked: of its messages nothing changes until this transaction is
    over."""
    its = sa.select(conversation).where(conversation.c.id == conversation_id)
    return con.execute(its.with_for_update()).one()


def newest_queued(con: sa.Connection, at: Address, key: str) -> Any | None:
    """The message that came from the platform's message `key` and still waits; of several, as
    where one was asked again by Retry, the newest. Its conversation is locked."""
    home = places.find(con, at)
    if home is None:
        return None
    query = sa.select(message).where(
        message.c.conversation == home.id, is_open, message.c.status == "queued"
    )
    for row in con.execute(query.order_by(message.c.id.desc())):
        keys = row.payload.get("keys") if isinstance(row.payload, dict) else None
        if isinstance(keys, list) and key in keys:
            return row
    return None


def locked(con: sa.Connection, message_id: int) -> tuple[Any | None, Any | None]:
    """(message, conversation), the conversation locked before the message is read: other nodes
    write beside this transaction. (None, None) where there is none."""
    its = sa.select(message.c.conversation).where(message.c.id == message_id)
    found = con.scalar(its)
    if found is None:
        return None, None
    home = home_of(con, found)
    row = con.execute(sa.select(message).where(message.c.id == message_id)).first()
    return (row, home) if row is not None else (None, None)
