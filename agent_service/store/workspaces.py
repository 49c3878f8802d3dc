"""Workspaces in the store: since when, whether anything is open in them, and their end."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from agent_service.contract.errors import Conflict, NotFound
from agent_service.store import policies, schema


def made_at(db: sa.Connection, workspace: str) -> float:
    """Raises `NotFound`."""
    table = schema.workspace
    found = db.scalar(sa.select(table.c.created_at).where(table.c.id == workspace))
    if found is None:
        raise NotFound("No such workspace.")
    return float(found)


def at_rest(db: sa.Connection, workspace: str) -> list[str]:
    """Its conversations. Raises `Conflict` where a turn of one is queued, running or waiting."""
    mine = list(db.scalars(_conversations(workspace)))
    turn = schema.turn
    open_ = db.scalar(
        sa.select(turn.c.state).where(
            turn.c.conversation.in_(_conversations(workspace)), turn.c.state != "finished"
        )
    )
    if open_ is not None:
        raise Conflict(
            f"A turn of this workspace is {open_}.",
            remedy="Answer it, stop it or wait until it is done, then try again.",
            state=open_,
        )
    return mine


def forget_sessions(db: sa.Connection, workspace: str) -> None:
    """Its conversations begin anew: nothing of their transcripts is used again."""
    for conversation in list(db.scalars(_conversations(workspace))):
        db.execute(
            schema.conversation.update()
            .where(schema.conversation.c.id == conversation)
            .values(session_id=str(uuid.uuid4()), started=False, unsettled=None)
        )


def remove(db: sa.Connection, workspace: str) -> bool:
    """Remove its row and all rows of its conversations. False where there was none.

    Numbers of the feed are not used again.
    """
    mine = _conversations(workspace)
    turns = sa.select(schema.turn.c.id).where(schema.turn.c.conversation.in_(mine))
    db.execute(schema.event.delete().where(schema.event.c.turn_id.in_(turns)))
    for table in (schema.decision, schema.feed, schema.turn):
        db.execute(table.delete().where(table.c.conversation.in_(mine)))
    policies.forget(db, workspace, list(db.scalars(mine)))
    db.execute(schema.conversation.delete().where(schema.conversation.c.workspace == workspace))
    hosts = schema.allowed_host
    db.execute(hosts.delete().where(hosts.c.workspace == workspace))
    gone = schema.workspace.delete().where(schema.workspace.c.id == workspace)
    return bool(db.execute(gone).rowcount)


def _conversations(workspace: str) -> sa.Select[str]:
    table = schema.conversation
    return sa.select(table.c.id).where(table.c.workspace == workspace)
