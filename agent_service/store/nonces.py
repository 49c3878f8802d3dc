"""Nonces of signed calls: each is accepted once, over restarts too."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from agent_service.store import schema

# Composed once: that costs more than to run them.
_FORGET = schema.nonce.delete().where(schema.nonce.c.until < sa.bindparam("now"))
_REMEMBER = insert(schema.nonce).on_conflict_do_nothing()


def remember(db: sa.Connection, nonce: str, until: float, now: float) -> bool:
    """Store a nonce until no token that holds it can be accepted. False if it was seen."""
    db.execute(_FORGET, {"now": now})
    added = db.execute(_REMEMBER, {"nonce": nonce, "until": until})
    return bool(added.rowcount)
