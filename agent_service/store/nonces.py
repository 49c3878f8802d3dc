"""Nonces of signed calls: each is accepted once, over restarts too."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from agent_service.store import schema


def remember(db: sa.Connection, nonce: str, until: float, now: float) -> bool:
    """Store a nonce until no token that holds it can be accepted. False if it was seen."""
    table = schema.nonce
    db.execute(table.delete().where(table.c.until < now))
    added = db.execute(insert(table).values(nonce=nonce, until=until).on_conflict_do_nothing())
    return bool(added.rowcount)
