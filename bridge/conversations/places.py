"""Conversations by their address: the first person owns one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from adapters.contract import Address, ConversationView, Place
from bridge.conversations import sharing
from bridge.people.access import Person, mint
from bridge.store.database import Database
from bridge.store.schema import conversation, guest, is_open, message

TITLE_LENGTH = 80


def at(address: Address) -> sa.ColumnElement[bool]:
    """The condition that finds a conversation by its address."""
    c = conversation.c
    return sa.and_(
        c.platform == address.platform,
        c.tenant == address.tenant,
        c.channel == address.channel,
        c.thread == address.thread,
        c.direct == address.direct,
    )


def address_of(row: Any) -> Address:
    """The address in a row of the conversation table."""
    return Address(row.platform, row.tenant, row.channel, row.thread, row.direct)


def _opening(db: Database) -> sa.Insert:
    c = conversation.c
    fresh = db.insert(conversation).values(
        last_active=db.now,
        ready_at=db.now,
        pending=sa.bindparam("pending", type_=sa.Integer),
        fence=0,
        lease_until=0.0,
    )
    new = fresh.excluded
    # What was set up for it while it was nobody's is nothing of its first owner's. And a direct
    # place has one writer: what it was before is nothing of the person whose account that is now.
    anew = sa.and_(
        new.owner.is_not(None),
        c.workspace.is_(None),
        sa.or_(c.owner.is_(None), sa.and_(c.direct, c.owner != new.owner)),
    )
    return fresh.on_conflict_do_update(
        index_elements=[c.platform, c.tenant, c.channel, c.thread, c.direct],
        set_={
            "owner": sa.case((anew, new.owner), else_=sa.func.coalesce(c.owner, new.owner)),
            "agent_conversation": sa.case(
                (anew, new.agent_conversation), else_=c.agent_conversation
            ),
            "model": sa.case((anew, sa.null()), else_=c.model),
            "title": sa.case((sa.or_(anew, c.title == ""), new.title), else_=c.title),
            "pending": c.pending + new.pending,
            "last_active": db.now,
            "ready_at": sa.case((c.pending == 0, db.now), else_=c.ready_at),
        },
    ).returning(conversation, (c.lease_until < db.now).label("idle"))


def open_or_create(
    con: sa.Connection,
    db: Database,
    address: Address,
    *,
    owner: str | None,
    title: str = "",
    arriving: int = 0,
    workspace: str | None = None,
) -> Any:
    """The conversation's row, made if need be; `arriving` messages are added to its count.

    The row's lock gives messages of one address their order. A stranger owns nothing: the first
    known person does, and it is a new conversation to the agent then. A direct one is its only
    writer's: where that account has become another person's, it is a new one as well. `idle` in
    the row says that nobody holds its lease. A new one works in `workspace`, or without it in its
    owner's.
    """
    values = {
        "id": mint("c"),
        "platform": address.platform,
        "tenant": address.tenant,
        "channel": address.channel,
        "thread": address.thread,
        "direct": address.direct,
        "title": _title(title),
        "owner": owner,
        "workspace": workspace,
        "agent_conversation": mint("a"),
        "pending": arriving,
    }
    row = con.execute(db.prepared(_opening), values).one()
    if row.agent_conversation == values["agent_conversation"] and row.id != values["id"]:
        con.execute(guest.delete().where(guest.c.conversation == row.id))
        con.execute(
            message.update()
            .where(message.c.conversation == row.id, message.c.status == "queued")
            .values(agent_conversation=row.agent_conversation)
        )
    return row


def find(con: sa.Connection, address: Address) -> Any | None:
    """The conversation's row, locked until the transaction is over: of its messages nothing
    changes meanwhile. None where nobody has written."""
    return con.execute(sa.select(conversation).where(at(address)).with_for_update()).first()


def enter(con: sa.Connection, db: Database, address: Address, who: Person) -> Any | None:
    """As `find`, for somebody who is let in: a direct place is theirs from now on, whoever had
    their account before."""
    home = find(con, address)
    if home is None or not home.direct or home.owner in (None, who.id):
        return home
    return open_or_create(con, db, address, owner=who.id)


def of_person(con: sa.Connection, person: str, limit: int = 200) -> list[ConversationView]:
    """The conversations a person started and takes part in still, the last active first."""
    rows = con.execute(
        sa.select(conversation)
        .where(sharing.started_by(person))
        .order_by(conversation.c.last_active.desc())
        .limit(limit)
    ).all()
    return [
        ConversationView(
            address=address_of(row),
            title=row.title,
            state=_state(con, row),
            last_active=datetime.fromtimestamp(row.last_active, UTC),
        )
        for row in rows
    ]


def written_since(con: sa.Connection, platform: str, since: float) -> list[Place]:
    """Where a message was stored since then (seconds since the epoch)."""
    newest = (
        sa.select(message.c.conversation, sa.func.max(message.c.order).label("newest"))
        .where(message.c.received_at >= since)
        .group_by(message.c.conversation)
        .subquery()
    )
    rows = con.execute(
        sa.select(conversation, newest.c.newest)
        .join(newest, newest.c.conversation == conversation.c.id)
        .where(conversation.c.platform == platform)
    ).all()
    return [Place(address_of(row), row.newest) for row in rows]


def _state(con: sa.Connection, row: Any) -> Literal["idle", "queued", "working", "waiting"]:
    if row.waiting_turn:
        return "waiting"
    if not row.pending:
        return "idle"
    statuses = set(
        con.scalars(
            sa.select(message.c.status).where(message.c.conversation == row.id, is_open)
        ).all()
    )
    return "working" if "running" in statuses else "queued"


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1] + "…"
