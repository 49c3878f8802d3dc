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
    """A turn that somebody wants: why they may not, or what they are told with it."""

    refused: str = ""
    notice: str = ""


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
        set_ = self._set(con, person)
        turns = set_.get("turns", self.rules.turns)
        return Limits(set_.get("usd", self.rules.usd), None if turns is None else int(turns))

    def deployment(self, con: sa.Connection) -> float | None:
        """US dollars of everybody together a month; None is no limit."""
        return self._set(con, DEPLOYMENT).get("usd", self.rules.deployment_usd)

    def _set(self, con: sa.Connection, person: str) -> dict[str, float | None]:
        c = budget.c
        rows = con.execute(sa.select(c.what, c.most).where(c.person == person))
        return {row.what: row.most for row in rows}

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

    def of_turn(self, con: sa.Connection, person: str) -> tuple[Budget, ...]:
        """What a turn of this person brings along for the agent service to hold to."""
        usd, all_usd, where = (
            self.limits(con, person).usd,
            self.deployment(con),
            self.rules.time_zone,
        )
        mine = () if usd is None else (Budget("person", usd, "day", where),)
        ours = () if all_usd is None else (Budget("deployment", all_usd, "month", where),)
        return (*mine, *ours)

    def take(self, con: sa.Connection, who: Person, turn_id: str) -> Taken:
        """Count a turn of today, unless that is one too many. Two at once, on two nodes too, never
        pass the limit together."""
        most, day, c = self.limits(con, who.id).turns, self.now("day"), turns_taken.c
        if most == 0:
            return Taken(refused=self._no_turns(who, 0, day))
        fresh = self._db.insert(turns_taken).values(person=who.id, day=day.name, turns=1)
        counted = fresh.on_conflict_do_update(
            index_elements=[c.person, c.day],
            set_={"turns": c.turns + 1},
            where=None if most is None else c.turns < most,
        ).returning(c.turns)
        count = con.scalar(counted)
        if count is None:
            return Taken(refused=self._no_turns(who, most or 0, day))
        if most is None or count < ceil(most * WARN_SHARE):
            return Taken()
        if not self.warns(con, who.id, "turns", day.name, turn_id):
            return Taken()
        return Taken(
            notice=f"{count} of your {most} turns of today are used. They renew {day.renews}; "
            "`usage` shows how far you are."
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
