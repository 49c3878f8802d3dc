"""What people and the deployment may use, and the turns that people took.

The agent service counts money, since it alone sees every answer, and holds to what each turn brings
along. Turns are counted here, in the transaction that takes the message: once, whatever dies.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningInsert

from agent_service.contract import WARN_SHARE, Budget, Period
from bridge.budgets.amounts import Amount, What
from bridge.budgets.periods import Current, current
from bridge.people.access import Person
from bridge.store.database import Database
from bridge.store.schema import budget, budget_warning, turns_taken

DEPLOYMENT = ""
"""Stands where a table names a person."""
KEEP_DAYS = 400
"""That counts of turns are kept."""


@dataclass(frozen=True, slots=True)
class Limits:
    """At most so much; None is no limit."""

    usd: float | None
    turns: int | None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say: of a person a day, of the deployment a month, by whose midnight, and
    how many messages and commands of one person are taken in a minute."""

    usd: float | None = None
    turns: int | None = None
    deployment_usd: float | None = None
    time_zone: str = "UTC"
    messages: int = 30
    commands: int = 60


@dataclass(frozen=True, slots=True)
class Taken:
    """A turn that somebody wants: what it brings along for the agent service to hold to, or why it
    is refused; and what they are told with it."""

    budgets: tuple[Budget, ...] = ()
    refused: str = ""
    notice: str = ""


UNLIMITED = 2**31 - 1
_LIMITS = sa.select(budget.c.person, budget.c.what, budget.c.most).where(
    budget.c.person.in_((sa.bindparam("it"), DEPLOYMENT))
)


def _take(db: Database) -> ReturningInsert[int]:
    c = turns_taken.c
    fresh = db.insert(turns_taken).values(turns=1)
    return fresh.on_conflict_do_update(
        index_elements=[c.person, c.day],
        set_={"turns": c.turns + 1},
        where=c.turns < sa.bindparam("most", type_=sa.Integer),
    ).returning(c.turns)


class Budgets:
    """One a bridge. Every method with a connection is part of its transaction."""

    def __init__(self, db: Database, rules: Rules, clock: Callable[[], float] = time.time) -> None:
        """`clock` says what day it is, in seconds since the epoch."""
        self._db = db
        self.rules = rules
        self.clock = clock

    def now(self, period: Period) -> Current:
        """The present day or month."""
        return current(period, self.rules.time_zone, self.clock())

    # ---- limits ----

    def limits(self, con: sa.Connection, person: str) -> Limits:
        """What holds for a person a day."""
        return self._limits(con, person)[0]

    def deployment(self, con: sa.Connection) -> float | None:
        """US dollars of everybody together a month; None is no limit."""
        return self._limits(con, DEPLOYMENT)[1]

    def _limits(self, con: sa.Connection, person: str) -> tuple[Limits, float | None]:
        """(of the person, of the deployment)."""
        rows = con.execute(_LIMITS, {"it": person}).all()
        mine = {row.what: row.most for row in rows if row.person == person}
        ours = {row.what: row.most for row in rows if row.person == DEPLOYMENT}
        turns = mine.get("turns", self.rules.turns)
        return (
            Limits(mine.get("usd", self.rules.usd), None if turns is None else int(turns)),
            ours.get("usd", self.rules.deployment_usd),
        )

    def change(
        self, con: sa.Connection, person: str, what: What, amount: Amount, by: Person
    ) -> None:
        """From the next turn on this holds."""
        c = budget.c
        con.execute(budget.delete().where(c.person == person, c.what == what))
        if amount != "default":
            most = None if amount == "unlimited" else amount
            con.execute(
                budget.insert().values(
                    person=person, what=what, most=most, set_by=by.id, set_at=self.clock()
                )
            )

    # ---- turns ----

    def take(self, con: sa.Connection, who: Person, turn_id: str) -> Taken:
        """Count a turn of today, unless that is one too many. Two at once, on two nodes too, never
        pass the limit together."""
        limits, all_usd = self._limits(con, who.id)
        day, where, most = self.now("day"), self.rules.time_zone, limits.turns
        mine = () if limits.usd is None else (Budget("person", limits.usd, "day", where),)
        ours = () if all_usd is None else (Budget("deployment", all_usd, "month", where),)
        budgets = (*mine, *ours)
        its = {"person": who.id, "day": day.name, "most": UNLIMITED if most is None else most}
        count = con.scalar(self._db.prepared(_take), its) if most != 0 else None
        if count is None:
            return Taken(refused=self._no_turns(who, most or 0, day))
        if most is None or count < ceil(most * WARN_SHARE):
            return Taken(budgets)
        if not self.warns(con, who.id, "turns", day.name, turn_id):
            return Taken(budgets)
        return Taken(
            budgets,
            notice=f"{count} of your {most} turns of today are used. They renew {day.renews}; "
            "`usage` shows how far you are.",
        )

    def _no_turns(self, who: Person, most: int, day: Current) -> str:
        used = f"Your {most} turns of today are used up." if most else "You have no turns today."
        return (
            f"{used} They renew {day.renews}. An admin can give you more: "
            f"`budget {who.id} {most + 50} turns`."
        )

    def turns(self, con: sa.Connection, person: str) -> tuple[int, int]:
        """(today, this month)."""
        c, day, month = turns_taken.c, self.now("day"), self.now("month")
        mine = sa.select(c.day, c.turns).where(
            c.person == person, c.day >= f"{month.name}-01", c.day <= day.name
        )
        by_day = {row.day: row.turns for row in con.execute(mine)}
        return by_day.get(day.name, 0), sum(by_day.values())

    def everybodys_turns(self, con: sa.Connection) -> dict[str, int]:
        """This month's, by person."""
        c, month = turns_taken.c, self.now("month")
        rows = con.execute(
            sa.select(c.person, sa.func.sum(c.turns).label("turns"))
            .where(c.day >= f"{month.name}-01")
            .group_by(c.person)
        )
        return {row.person: int(row.turns) for row in rows}

    # ---- warnings ----

    def warns(self, con: sa.Connection, person: str, what: str, period: str, turn_id: str) -> bool:
        """Whether this turn is the one that warns of it: the first in the period that asked, and
        that one however often it asks."""
        c = budget_warning.c
        fresh = self._db.insert(budget_warning).values(
            person=person, what=what, period=period, turn_id=turn_id, at=self.clock()
        )
        con.execute(fresh.on_conflict_do_nothing())
        mine = sa.select(c.turn_id).where(c.person == person, c.what == what, c.period == period)
        return con.scalar(mine) == turn_id

    # ---- retention ----

    def forget(self, con: sa.Connection, batch: int) -> int:
        """Delete counts and warnings that nothing asks for any more; gives how many."""
        oldest = current("day", "UTC", self.clock() - KEEP_DAYS * 86_400.0)
        gone = 0
        for table, old in (
            (turns_taken, turns_taken.c.day < oldest.name),
            (budget_warning, budget_warning.c.at < oldest.start),
        ):
            keys = [column.name for column in table.primary_key]
            found = con.execute(sa.select(*table.primary_key).where(old).limit(batch)).all()
            for row in found:
                con.execute(table.delete().where(*(table.c[k] == getattr(row, k) for k in keys)))
            gone += len(found)
        return gone
