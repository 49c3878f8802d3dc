"""Conversations for those who run the deployment, and for who owns them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bridge.contract import (
    MESSAGES,
    NAME_LIMIT,
    PAGE,
    ConversationDetail,
    ConversationsPage,
    ConversationState,
    ConversationView,
    MessageView,
    WaitingDecision,
)
from bridge.conversations import sharing
from bridge.people import access, deciders
from bridge.store.schema import conversation, decision, is_open, message, person

MOST_DECISIONS = 100
TEXT_LIMIT = 20_000


def page(
    con: sa.Connection, *, words: str = "", owner: str = "", state: str = "", after: int = 0
) -> ConversationsPage:
    """The last active first; `words` of the title, `state` as a view has it."""
    c = conversation.c
    query = sa.select(conversation, person.c.name).outerjoin(person, person.c.id == c.owner)
    if words:
        escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        like = f"%{escaped}%"
        query = query.where(
            c.title.ilike(like, escape="\\")
            | person.c.name.ilike(like, escape="\\")
            | (c.id == words)
        )
    if owner:
        query = query.where(c.owner == owner)
    if state == "waiting":
        query = query.where(c.waiting_turn.is_not(None))
    elif state == "working":
        query = query.where(c.pending > 0, c.waiting_turn.is_(None))
    elif state == "idle":
        query = query.where(c.pending == 0, c.waiting_turn.is_(None))
    query = query.order_by(c.last_active.desc(), c.id).offset(after).limit(PAGE + 1)
    rows = con.execute(query).all()
    more = str(after + PAGE) if len(rows) > PAGE else None
    return ConversationsPage(tuple(_view(con, row) for row in rows[:PAGE]), more)


def detail(con: sa.Connection, conversation_id: str) -> ConversationDetail | None:
    """None where there is no such conversation."""
    found = _one(con, conversation_id)
    if found is None:
        return None
    c = message.c
    rows = con.execute(
        sa.select(message)
        .where(c.conversation == conversation_id)
        .order_by(c.order.desc(), c.id.desc())
        .limit(MESSAGES)
    ).all()
    guests = tuple(who.name for who in sharing.guests(con, conversation_id))
    return ConversationDetail(found, tuple(_message(row) for row in reversed(rows)), guests)


def waiting(con: sa.Connection) -> tuple[WaitingDecision, ...]:
    """The decisions that wait anywhere, the oldest first."""
    query = (
        sa.select(decision, message.c.request, message.c.payload, conversation.c.id.label("home"))
        .join(message, message.c.id == decision.c.message)
        .join(conversation, conversation.c.id == decision.c.conversation)
        .where(conversation.c.waiting_turn == decision.c.turn_id)
        .order_by(decision.c.message)
        .limit(MOST_DECISIONS)
    )
    # A turn may have asked before, and about hosts, for which it does not wait.
    rows = con.execute(query).all()
    last = {row.turn_id: row for row in rows if row.shown.get("kind") != "network"}
    return tuple(one for row in last.values() if (one := _waiting(con, row)) is not None)


def _waiting(con: sa.Connection, row: Any) -> WaitingDecision | None:
    home = _one(con, row.home)
    if home is None:
        return None
    workspace = str((row.request or {}).get("workspace", "")) or home.workspace
    people = tuple(deciders.of(con, workspace))
    return WaitingDecision(row.id, row.turn_id, home, _name(row.payload), row.shown, people)


def _one(con: sa.Connection, conversation_id: str) -> ConversationView | None:
    query = sa.select(conversation, person.c.name).outerjoin(
        person, person.c.id == conversation.c.owner
    )
    row = con.execute(query.where(conversation.c.id == conversation_id)).first()
    return None if row is None else _view(con, row)


def _view(con: sa.Connection, row: Any) -> ConversationView:
    return ConversationView(
        id=row.id,
        title=row.title,
        platform=row.platform,
        tenant=row.tenant,
        channel=row.channel,
        direct=row.direct,
        owner=row.owner or "",
        owner_name=row.name or "",
        workspace=sharing.workspace_of(con, row),
        agent_conversation=row.agent_conversation,
        state=_state(con, row),
        queued=max(0, row.pending - 1) if row.pending else 0,
        last_active=row.last_active,
    )


def _state(con: sa.Connection, row: Any) -> ConversationState:
    if row.waiting_turn:
        return "waiting"
    if not row.pending:
        return "idle"
    running = sa.select(message.c.id).where(
        message.c.conversation == row.id, is_open, message.c.status == "running"
    )
    return "working" if con.scalar(running.limit(1)) is not None else "queued"


def _message(row: Any) -> MessageView:
    payload = row.payload if isinstance(row.payload, dict) else {}
    return MessageView(
        id=row.id,
        turn=row.turn_id,
        name=_name(payload),
        text=str(payload.get("text", ""))[:TEXT_LIMIT],
        state=row.status,
        at=row.received_at,
        done_at=row.done_at,
    )


def _name(payload: Any) -> str:
    try:
        return str(payload["sender"]["name"])[:NAME_LIMIT]
    except (KeyError, TypeError):
        return ""


def counts(con: sa.Connection) -> tuple[int, int, int, int]:
    """(messages queued, running, waiting, people who are let in)."""
    rows = con.execute(
        sa.select(message.c.status, sa.func.count()).where(is_open).group_by(message.c.status)
    )
    found = {row[0]: row[1] for row in rows}
    people = con.scalar(sa.select(sa.func.count()).where(person.c.role.not_in(access.OUT)))
    return (
        found.get("queued", 0),
        found.get("running", 0),
        found.get("waiting", 0),
        people or 0,
    )
