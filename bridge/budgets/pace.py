"""How fast one person may write: so many at once, and then one each time as much time has passed as
is theirs. What is too much is refused at once and not kept."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import sqlalchemy as sa

from bridge.store.database import Database
from bridge.store.schema import pace

WINDOW = 60.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class TooFast:
    """It is not taken. `told` is empty where its writer heard so within the last minute."""

    told: str = ""


def check(
    con: sa.Connection,
    db: Database,
    who: str,
    kind: Literal["message", "command"],
    most: int,
    now: float,
) -> TooFast | None:
    """None where one more is within `most` a minute, and counted. A clock that went back, or of
    another node, costs nobody more than a minute."""
    c = pace.c
    row = con.execute(sa.select(pace).where(c.who == who, c.kind == kind).with_for_update()).first()
    free = min(max(row.free_at, now), now + WINDOW) if row is not None else now
    free += WINDOW / most
    if free - now <= WINDOW + 1e-6:
        _keep(con, db, who=who, kind=kind, free_at=free, told_at=row.told_at if row else 0.0)
        return None
    told = row is not None and 0 <= now - row.told_at < WINDOW
    kept = free - WINDOW / most  # of a clock that went back, no more than it is worth now
    told_at = row.told_at if row is not None and told else now
    _keep(con, db, who=who, kind=kind, free_at=kept, told_at=told_at)
    if told:
        return TooFast()
    seconds = ceil(free - now - WINDOW)
    what = "That message was" if kind == "message" else "That was"
    return TooFast(
        f"{what} not taken: {most} a minute are the most of one person. "
        f"Write it again in {seconds} s or later."
    )


def _keep(con: sa.Connection, db: Database, **values: object) -> None:
    fresh = db.insert(pace).values(**values)
    con.execute(
        fresh.on_conflict_do_update(
            index_elements=[pace.c.who, pace.c.kind],
            set_={"free_at": fresh.excluded.free_at, "told_at": fresh.excluded.told_at},
        )
    )


def forget(con: sa.Connection, now: float, batch: int) -> int:
    """Delete what says nothing any more; gives how many."""
    c = pace.c
    rows = con.execute(sa.select(c.who, c.kind).where(c.free_at < now - WINDOW).limit(batch)).all()
    for row in rows:
        con.execute(pace.delete().where(c.who == row.who, c.kind == row.kind))
    return len(rows)
