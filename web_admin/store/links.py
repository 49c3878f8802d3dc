"""Sign-in links that were used: each is good once, over restarts too."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from web_admin.store import schema


def use(db: sa.Connection, nonce: str, until: float, now: float) -> bool:
    """Note that a link was used; `until` it would be good otherwise. False where it was before."""
    db.execute(schema.used_link.delete().where(schema.used_link.c.until < now))
    fresh = insert(schema.used_link).values(nonce=nonce, until=until)
    return bool(db.execute(fresh.on_conflict_do_nothing()).rowcount)
