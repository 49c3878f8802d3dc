"""What was used, an answer a row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from agent_service.broker.broker import Answered
from agent_service.contract.usage import TurnUsage, UsageBy, UsageLine, UsageSum
from agent_service.store import schema

_ROW = schema.usage
_SUMS = (
    sa.func.count(),
    sa.func.coalesce(sa.func.sum(_ROW.c.input_tokens), 0),
    sa.func.coalesce(sa.func.sum(_ROW.c.cache_write_tokens), 0),
    sa.func.coalesce(sa.func.sum(_ROW.c.cache_read_tokens), 0),
    sa.func.coalesce(sa.func.sum(_ROW.c.output_tokens), 0),
    sa.func.coalesce(sa.func.sum(_ROW.c.cost_usd), 0.0),
)
_INSERT = _ROW.insert()
_IS_OWN = schema.credential.c.source == "sign_in"
_OWN = sa.select(schema.credential.c.id).where(_IS_OWN)
MOST_SUMS = 1000


def row_of(answered: Answered, at: float | None = None) -> dict[str, Any]:
    """The answer as a row. `at` is in seconds since the epoch; now, if not given."""
    at = time.time() if at is None else at
    return {
        "at": at,
        "day": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d"),
        "person": answered.person,
        "turn": answered.turn,
        "conversation": answered.grant.conversation,
        "workspace": answered.grant.workspace,
        "credential": answered.credential,
        "model": answered.model,
        "input_tokens": answered.tokens.input,
        "cache_write_tokens": answered.tokens.cache_write,
        "cache_read_tokens": answered.tokens.cache_read,
        "output_tokens": answered.tokens.output,
        "cost_usd": answered.cost_usd,
    }


def add(db: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Store answers."""
    if rows:
        db.execute(_INSERT, list(rows))


def lines(db: sa.Connection, since: float, limit: int = 10_000) -> list[UsageLine]:
    """Sums by day, person and model since then, the newest day first."""
    by = (_ROW.c.day, _ROW.c.person, _ROW.c.model)
    query = (
        sa.select(*by, *_SUMS)
        .where(_ROW.c.at >= since)
        .group_by(*by)
        .order_by(_ROW.c.day.desc(), _ROW.c.person, _ROW.c.model)
        .limit(limit)
    )
    return [UsageLine(*row) for row in db.execute(query)]


def of_turn(db: sa.Connection, turn_id: str) -> TurnUsage:
    """What a turn has used; zeros for one that used nothing."""
    row = db.execute(sa.select(*_SUMS).where(_ROW.c.turn == turn_id)).one()
    return TurnUsage(turn_id, *row)


def used(db: sa.Connection, person: str | None, since: float) -> tuple[float, set[str]]:
    """(US dollars that a person, or with None everybody together, used since then; the sign-ins of
    people's own, which pay for themselves and are not counted)."""
    own = set(db.scalars(sa.select(schema.credential.c.id).where(_IS_OWN)))
    total = sa.select(sa.func.coalesce(sa.func.sum(_ROW.c.cost_usd), 0.0)).where(
        _ROW.c.at >= since, _ROW.c.credential.not_in(_OWN)
    )
    if person is not None:
        total = total.where(_ROW.c.person == person)
    return float(db.execute(total).scalar_one()), own


def sums(
    db: sa.Connection, since: float, by: UsageBy, person: str = "", limit: int = MOST_SUMS
) -> list[UsageSum]:
    """Sums since then by person or by model, the dearest first; of one person where named."""
    column = _ROW.c[by]
    own = sa.func.coalesce(sa.func.sum(_ROW.c.cost_usd).filter(_ROW.c.credential.in_(_OWN)), 0.0)
    total = sa.func.coalesce(sa.func.sum(_ROW.c.cost_usd), 0.0)
    query = (
        sa.select(column, sa.func.count(_ROW.c.turn.distinct()), *_SUMS[:-1], total - own, own)
        .where(_ROW.c.at >= since)
        .group_by(column)
        .order_by(total.desc(), column)
        .limit(limit)
    )
    if person:
        query = query.where(_ROW.c.person == person)
    return [UsageSum(*row) for row in db.execute(query)]


def spent(db: sa.Connection, conversation: str) -> float:
    """US dollars that a conversation has used; what people's own sign-ins paid is not counted."""
    mine = (_ROW.c.conversation == conversation) & _ROW.c.credential.not_in(_OWN)
    total = sa.func.coalesce(sa.func.sum(_ROW.c.cost_usd), 0.0)
    return float(db.execute(sa.select(total).where(mine)).scalar_one())
