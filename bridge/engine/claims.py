"""The statements by which nodes share the conversations among them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from bridge.store.database import Database
from bridge.store.schema import conversation, is_open, is_ready, message

LEASE_SECONDS = 10.0
"""How long a node keeps what it does not renew; it renews three times as often."""


def claim(db: Database) -> ReturningUpdate[int]:
    return (
        conversation.update()
        .where(conversation.c.id == sa.bindparam("it"))
        .values(
            lease_owner=sa.bindparam("node"),
            fence=conversation.c.fence + 1,
            lease_until=db.now + LEASE_SECONDS,
        )
        .returning(conversation.c.fence)
    )


def _whose(table: Any) -> sa.ColumnElement[str]:
    """Whose share a conversation counts to; a stranger's counts by itself."""
    return sa.func.coalesce(table.c.owner, table.c.id)


def held_of(db: Database) -> sa.Select[int]:
    c = conversation.c
    return sa.select(sa.func.count()).where(
        c.lease_owner.is_not(None),
        c.lease_until >= db.now,
        _whose(conversation) == sa.bindparam("whose"),
    )


def _claimable(db: Database) -> list[sa.ColumnElement[bool] | sa.TextClause]:
    c = conversation.c
    return [
        is_ready,
        c.lease_until < db.now,
        c.ready_at <= db.now,
        sa.or_(c.lease_owner.is_(None), c.lease_owner != sa.bindparam("node")),
        # As an expression, or the index on addresses would seem to be worth its while: all
        # conversations there are would be read to find the few that are ready.
        sa.func.coalesce(c.platform, "").in_(sa.bindparam("platforms", expanding=True)),
    ]


def pick(db: Database) -> ReturningUpdate[Any]:
    c = conversation.c
    held = (
        sa.select(_whose(conversation).label("whose"), sa.func.count().label("held"))
        .where(c.lease_owner.is_not(None), c.lease_until >= db.now)
        .group_by(_whose(conversation))
        .cte("held")
    )
    rank = sa.func.row_number().over(partition_by=_whose(conversation), order_by=c.ready_at)
    ranked = (
        sa.select(c.id, c.ready_at, (rank + sa.func.coalesce(held.c.held, 0)).label("place"))
        .select_from(conversation.outerjoin(held, held.c.whose == _whose(conversation)))
        .where(*_claimable(db))
        .cte("ranked")
    )
    fair = (
        sa.select(ranked.c.id)
        .where(ranked.c.place <= sa.bindparam("share"))
        .order_by(ranked.c.place, ranked.c.ready_at)
        .limit(sa.bindparam("most", type_=sa.Integer))
        .cte("fair")
    )
    # Conditions once more: another node may have had the row between the look and the lock.
    free = (
        sa.select(c.id)
        .where(c.id.in_(sa.select(fair.c.id)), *_claimable(db))
        .with_for_update(skip_locked=True)
        .cte("free")
    )
    return (
        conversation.update()
        .where(c.id.in_(sa.select(free.c.id)))
        .values(
            lease_owner=sa.bindparam("node"),
            fence=c.fence + 1,
            lease_until=db.now + LEASE_SECONDS,
        )
        .returning(c.id, c.fence)
    )


def any_ready(db: Database) -> sa.Select[str]:
    return sa.select(conversation.c.id).where(*_claimable(db)).limit(1)


def asked_to_stop(db: Database) -> sa.Select[int]:
    return (
        sa.select(message.c.id)
        .join(conversation, conversation.c.id == message.c.conversation)
        .where(conversation.c.lease_owner == sa.bindparam("node"), is_open, message.c.stop_asked)
    )
