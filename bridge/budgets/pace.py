"""How fast one person may write: so many at once, and then one each time as much time has passed as
is theirs. What is too much is refused at once and not kept."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningInsert

from bridge.store.database import Database
from bridge.store.schema import pace

WINDOW = 60.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class NotTaken:
    """It is not taken. `told` is empty where its writer heard so within the last minute."""

    told: str = ""
    why: Literal["too_fast", "refused"] = "too_fast"


def check(
    con: sa.Connection,
    db: Database,
    who: str,
    kind: Literal["message", "command"],
    most: int,
    now: float,
) -> NotTaken | None:
    """None where one more is within `most` a minute, and counted. A clock that went back, or of
    another node, costs nobody more than a minute."""
    its = {"who": who, "kind": kind, "now": now, "each": WINDOW / most}
    if con.execute(db.prepared(_take), its).first() is not None:
        return None
    c = pace.c
    here = sa.and_(c.who == who, c.kind == kind)
    row = con.execute(sa.select(pace).where(here).with_for_update()).one()
    told = 0 <= now - row.told_at < WINDOW
    free_at = min(row.free_at, now + WINDOW)
    told_at = row.told_at if told else now
    con.execute(pace.update().where(here).values(free_at=free_at, told_at=told_at))
    if told:
        return NotTaken()
    seconds = ceil(free_at + WINDOW / most - now - WINDOW)
    what = "That message was" if kind == "message" else "That was"
    return NotTaken(
        f"{what} not taken: {most} a minute are the most of one person. "
        f"Write it again in {seconds} s or later."
    )


def _take(db: Database) -> ReturningInsert[float]:
    """Adds what one more is worth, unless that is more than a minute from now."""
    c = pace.c
    now, each = sa.bindparam("now", type_=sa.Double), sa.bindparam("each", type_=sa.Double)
    fresh = db.insert(pace).values(free_at=now + each, told_at=0.0)
    latest = sa.case((c.free_at > now + WINDOW, now + WINDOW), else_=c.free_at)
    then = sa.case((latest > now, latest), else_=now) + each
    return fresh.on_conflict_do_update(
        index_elements=[c.who, c.kind], set_={"free_at": then}, where=then <= now + WINDOW + 1e-6
    ).returning(c.free_at)


def forget(con: sa.Connection, now: float, batch: int) -> int:
    """Delete what says nothing any more; gives how many."""
    c = pace.c
    rows = con.execute(sa.select(c.who, c.kind).where(c.free_at < now - WINDOW).limit(batch)).all()
    for row in rows:
        con.execute(pace.delete().where(c.who == row.who, c.kind == row.kind))
    return len(rows)
