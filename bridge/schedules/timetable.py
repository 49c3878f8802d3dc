"""The schedules people have: proposed, confirmed, paused, removed.

Every method is (part of) one transaction. A conversation is locked before its schedules are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from adapters.contract import Identity, MessageIn, Sender
from bridge.conversations import places, sharing
from bridge.engine.job import MESSAGE
from bridge.engine.pending import behind_all, home_of, queue
from bridge.people import access, admission
from bridge.people.access import Person, mint, shown
from bridge.schedules.limits import Limits
from bridge.schedules.timing import NotATime, Timing
from bridge.store.database import Database
from bridge.store.schema import conversation, is_open, message, person, schedule

MOST_LISTED = 50
KEPT = ("active", "paused", "over")
"""States of those that were confirmed."""
COUNTED = ("active", "paused")
MOST_WORDS = 400
LATE_SECONDS = 120.0
"""A run that is later says so."""

NOT_LET_IN = (
    "You are let in as one of a group or channel, and that can only be seen while you write. Ask "
    "an admin to let you in by name (`people role`) to have schedules."
)
NO_PART = (
    "Schedules are for the owner of a conversation, or the members of a channel's workspace. Make "
    "yours in a conversation of your own."
)
NEVER = "That time never comes again."


class Timetable:
    """`clock` gives seconds since the epoch; only schedules on `platforms` are due here."""

    def __init__(
        self,
        db: Database,
        platforms: Sequence[str],
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.db = db
        self.platforms = list(platforms)
        self.limits = limits
        self.clock = clock

    # ---- zones ----

    def zone_of(self, con: sa.Connection, person_id: str) -> str:
        """The person's zone, or the deployment's."""
        found = con.scalar(sa.select(person.c.timezone).where(person.c.id == person_id))
        return found or self.limits.zone

    def set_zone(self, con: sa.Connection, person_id: str, zone: str | None) -> None:
        con.execute(person.update().where(person.c.id == person_id).values(timezone=zone))

    # ---- what somebody has ----

    def of_person(self, con: sa.Connection, person_id: str) -> list[Any]:
        """By number, without those that were not confirmed."""
        c = schedule.c
        query = sa.select(schedule).where(c.person == person_id, c.state.in_(KEPT))
        return list(con.execute(query.order_by(c.number)).all())

    def everybodys(self, con: sa.Connection) -> list[Any]:
        """The next due first."""
        c = schedule.c
        query = sa.select(schedule).where(c.state.in_(KEPT))
        order = (c.next_at.is_(None), c.next_at, c.id)
        return list(con.execute(query.order_by(*order).limit(MOST_LISTED)).all())

    def find(self, con: sa.Connection, who: Person, word: str) -> Any | None:
        """One of somebody's by its number, locked; for admins anybody's by its id."""
        c = schedule.c
        if word.isdecimal() and len(word) < 7:
            mine = sa.and_(c.person == who.id, c.number == int(word))
        elif who.is_admin:
            mine = c.id == word.strip("`")
        else:
            return None
        query = sa.select(schedule).where(mine, c.state.in_(KEPT))
        found = con.execute(query).first()
        if found is None:
            return None
        home_of(con, found.conversation)
        return con.execute(query.with_for_update()).first()

    def outcome(self, con: sa.Connection, row: Any) -> str | None:
        """The status of the message of its last run; None before one, and once it is forgotten."""
        c = message.c
        query = sa.select(c.status).where(c.schedule == row.id).order_by(c.id.desc()).limit(1)
        return con.scalar(query)

    def home_of(self, con: sa.Connection, row: Any) -> Any:
        """The conversation it was made in, not locked."""
        its = sa.select(conversation).where(conversation.c.id == row.conversation)
        return con.execute(its).one()

    # ---- what somebody does with them ----

    def refusal(self, con: sa.Connection, who: Person, account: Identity, home: Any) -> str:
        """Why somebody can have no schedule there; empty where they can."""
        if not admission.stands(con, self.db, who, account):
            return NOT_LET_IN
        return "" if self._takes_part(con, who, home) else NO_PART

    def _takes_part(self, con: sa.Connection, who: Person, home: Any) -> bool:
        return sharing.part_of(con, home, who) in ("owner", "member")

    def unfit(self, con: sa.Connection, who_id: str, timing: Timing, itself: str = "") -> str:
        """Why that time cannot be had; empty where it can. `itself` does not count."""
        now = self.clock()
        if len(timing.words) > MOST_WORDS:
            return "That time is too long to be shown. Make several schedules of it."
        if timing.next(now) is None:
            return NEVER
        least = self.limits.minutes
        closest = timing.closest(now)
        if closest is not None and closest < least * 60:
            return (
                f"That is every {_minutes(closest)}, and here {_minutes(least * 60)} is the least "
                "between two runs."
            )
        return self._too_many(con, who_id, itself)

    def _too_many(self, con: sa.Connection, who_id: str, itself: str) -> str:
        c = schedule.c
        # The person's row is locked: two of their accounts could count at once.
        con.execute(
            sa.select(person.c.id).where(person.c.id == who_id).with_for_update(key_share=True)
        )
        have = con.scalar(
            sa.select(sa.func.count()).where(
                c.person == who_id, c.state.in_(COUNTED), c.id != itself
            )
        )
        if not self.limits.most:
            return "There are no schedules on this Bascule: its operator has switched them off."
        if (have or 0) >= self.limits.most:
            return f"You have {have} schedules, and more are not allowed. Remove one first."
        return ""

    def propose(
        self, con: sa.Connection, who: Person, account: Identity, home: Any, at: Timing, text: str
    ) -> Any:
        """A row that does nothing until it is confirmed. It takes the place of one before that was
        not."""
        c = schedule.c
        con.execute(schedule.delete().where(c.person == who.id, c.state == "proposed"))
        highest = con.scalar(sa.select(sa.func.max(c.number)).where(c.person == who.id))
        fresh = schedule.insert().values(
            id=mint("s"),
            person=who.id,
            number=(highest or 0) + 1,
            platform=account.platform,
            tenant=account.tenant,
            user=account.user,
            conversation=home.id,
            expression=at.expression,
            zone=at.zone,
            text=text,
            state="proposed",
            made_at=self.clock(),
        )
        return con.execute(fresh.returning(schedule)).one()

    def proposed(self, con: sa.Connection, schedule_id: str) -> Any | None:
        """The row, locked, whatever became of it."""
        query = sa.select(schedule).where(schedule.c.id == schedule_id)
        return con.execute(query.with_for_update()).first()

    def start(self, con: sa.Connection, row: Any) -> str:
        """Confirmed, or resumed: it is due from now on. Otherwise why not."""
        try:
            timing = Timing(row.expression, row.zone)
        except NotATime as error:
            return str(error)
        if refused := self.stopped(con, row, self.home_of(con, row)):
            return refused
        if refused := self.unfit(con, row.person, timing, row.id):
            return refused
        values = {"state": "active", "why": "", "next_at": timing.next(self.clock())}
        con.execute(schedule.update().where(schedule.c.id == row.id).values(values))
        return ""

    def stopped(self, con: sa.Connection, row: Any, home: Any) -> str:
        """Why its owner cannot have it run any more; empty where they can."""
        account = Identity(row.platform, row.tenant, row.user)
        who = access.find(con, account)
        if who is None or who.id != row.person:
            return "The account it was made with is not yours any more. Make it anew."
        return self.refusal(con, who, account, home)

    def pause(self, con: sa.Connection, row: Any, why: str = "", **values: Any) -> None:
        stopped = {"state": "paused", "why": why, "next_at": None, **values}
        con.execute(schedule.update().where(schedule.c.id == row.id).values(stopped))

    def remove(self, con: sa.Connection, row: Any) -> None:
        con.execute(schedule.delete().where(schedule.c.id == row.id))

    def run(self, con: sa.Connection, row: Any, home: Any, due: float) -> bool:
        """Put its text before the agent, behind what is open in its conversation, whose row is
        locked. False while its run before is not over."""
        if self.going(con, row.id):
            return False
        who = access.by_id(con, row.person)
        name = "somebody" if who is None else who.name
        said = MessageIn(
            keys=(),
            address=places.address_of(home),
            sender=Sender(Identity(row.platform, row.tenant, row.user), name),
            text=row.text,
            order=behind_all(con, home),
            sent_at=datetime.fromtimestamp(due, UTC),
        )
        payload = MESSAGE.dump_python(said, mode="json")
        late = self.clock() - due > LATE_SECONDS
        announcement = _announcement(row, name, due if late else None)
        queue(con, self.db, home, said.order, payload, schedule=row.id, announcement=announcement)
        done = schedule.update().where(schedule.c.id == row.id)
        con.execute(done.values(last_at=due, skipped=""))
        return True

    def end_all(self, con: sa.Connection, whom: Person, *, forget: bool) -> int:
        """Somebody is not let in any more: their schedules are removed, or paused, with a word
        about it where they ran. Gives how many ran."""
        c = schedule.c
        query = sa.select(schedule).where(c.person == whom.id, c.state == "active")
        rows = con.execute(query.with_for_update()).all()
        if forget:
            con.execute(schedule.delete().where(c.person == whom.id))
            return len(rows)
        con.execute(schedule.delete().where(c.person == whom.id, c.state == "proposed"))
        for row in rows:
            why = "its owner is not let in here any more"
            text = f"{title(row, whom.name)} is paused: {why}."
            self.pause(con, row, why, **word(row, f"paused.{int(self.clock())}", text))
        return len(rows)

    def going(self, con: sa.Connection, schedule_id: str) -> bool:
        """Whether a run of it is not over."""
        query = sa.select(message.c.id).where(message.c.schedule == schedule_id, is_open)
        return con.execute(query.limit(1)).first() is not None


def word(row: Any, kind: str, text: str, *, elsewhere: bool = False) -> dict[str, Any]:
    """Columns that have people told about a schedule, once by `kind`: where it runs, or its owner
    `elsewhere`."""
    key = f"schedule.{row.id}.{kind}"
    return {"word": {"key": key, "text": text, "elsewhere": elsewhere}, "word_until": 0.0}


def title(row: Any, name: str) -> str:
    """What others call it."""
    return f"Schedule {row.number} of {shown(name)} (“{shown(row.text)}”)"


def _announcement(row: Any, name: str, late: float | None) -> str:
    timing = Timing(row.expression, row.zone)
    was = f" It was due on {timing.shown(late)}." if late is not None else ""
    return f"{title(row, name)}, {timing.words}.{was}"


def _minutes(seconds: float) -> str:
    count = max(1, round(seconds / 60))
    return f"{count} minute{'s' if count > 1 else ''}"
