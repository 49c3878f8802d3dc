"""Conversations and workspaces as the agent service knows them."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from agent_service.contract.errors import Conflict, NotFound
from agent_service.store import schema

DOUBT = "?"
"""In `unsettled`: a turn runs, or it ended in a way that may have left a call unresolved."""


@dataclass(frozen=True, slots=True)
class StoredConversation:
    id: str
    workspace: str
    session_id: str
    started: bool
    model: str | None
    unsettled: str | None


# Composed once: that costs more than to run them.
_FIND = sa.select(schema.conversation).where(schema.conversation.c.id == sa.bindparam("it"))
_UPDATE = schema.conversation.update().where(schema.conversation.c.id == sa.bindparam("it"))
_WORKSPACES = sa.select(schema.workspace.c.id)
_WORKSPACE = _WORKSPACES.where(schema.workspace.c.id == sa.bindparam("it"))


def _conversation(row: sa.Row[Any]) -> StoredConversation:
    return StoredConversation(
        id=row.id,
        workspace=row.workspace,
        session_id=row.session_id,
        started=row.started,
        model=row.model,
        unsettled=row.unsettled,
    )


def find(db: sa.Connection, conversation: str) -> StoredConversation:
    """Raises `NotFound`."""
    row = db.execute(_FIND, {"it": conversation}).first()
    if row is None:
        raise NotFound("No such conversation.")
    return _conversation(row)


def ensure(db: sa.Connection, conversation: str, workspace: str) -> StoredConversation:
    """The conversation, made if need be. Raises `Conflict` if it is in another workspace."""
    now = time.time()
    row = db.execute(_FIND, {"it": conversation}).first()
    if row is None:
        db.execute(
            schema.conversation.insert().values(
                id=conversation,
                workspace=workspace,
                session_id=str(uuid.uuid4()),
                started=False,
                created_at=now,
            )
        )
        return find(db, conversation)
    if row.workspace != workspace:
        raise Conflict(
            "This conversation belongs to another workspace.",
            remedy="Start a new conversation in this workspace.",
            field="workspace",
        )
    return _conversation(row)


def workspaces(db: sa.Connection) -> set[str]:
    return set(db.scalars(_WORKSPACES))


def ensure_workspace(db: sa.Connection, workspace: str) -> None:
    if db.scalar(_WORKSPACE, {"it": workspace}) is None:
        db.execute(schema.workspace.insert().values(id=workspace, created_at=time.time()))


def update(db: sa.Connection, conversation: str, /, **values: Any) -> None:
    """Set columns of a conversation."""
    db.execute(_UPDATE, {"it": conversation, **values})


def in_doubt(db: sa.Connection, conversation: str) -> None:
    """A turn of it begins: from now on something may lie unresolved in its session."""
    update(db, conversation, unsettled=DOUBT, started=True)


def counts(
    db: sa.Connection, conversation: str
) -> tuple[int, Literal["queued", "running", "waiting"] | None]:
    """How many turns it has had, and the state of the oldest unfinished one."""
    table = schema.turn
    mine = table.c.conversation == conversation
    total = db.scalar(sa.select(sa.func.count()).select_from(table).where(mine)) or 0
    state = db.scalar(
        sa.select(table.c.state).where(mine, table.c.state != "finished").order_by(table.c.number)
    )
    return total, state
