"""What is due: each run is stored once, in the transaction that moves its schedule on.

Whichever node comes first locks the conversation and the schedule's row; the next one finds it due
at another time. So a run is stored once for each time, whoever dies in between, and nothing is
stored for a time that was not moved on from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from adapters.contract import Address, Identity
from bridge.conversations import places
from bridge.engine.pending import home_of
from bridge.people import access, admission
from bridge.schedules.timetable import Timetable, title, word
from bridge.schedules.timing import NotATime, Timing
from bridge.store.schema import conversation, is_active, message, schedule

MOST_AT_ONCE = 100
WORD_SECONDS = 60.0
"""How long a node may take to tell something, before another one does."""
PROPOSAL_SECONDS = 86_400.0
"""How long a card can be confirmed."""
OVER_SECONDS = 30 * 86_400.0
"""How long one is listed that will never be due again."""


@dataclass(frozen=True, slots=True)
class Word:
    """Something people are to be told about a schedule; `at` is None where there is no place."""

    schedule: str
    key: str
    text: str
    at: Address | None


class Due:
    """Every method is (part of) one transaction."""

    def __init__(self, table: Timetable) -> None:
        self._table = table

    def look(self, con: sa.Connection) -> tuple[list[str], float | None]:
        """(schedules that are due, when the next one is)."""
        now = self._table.clock()
        c = schedule.c
        mine = (is_active, c.platform.in_(self._table.platforms))
        rows = con.scalars(
            sa.select(c.id).where(*mine, c.next_at <= now).order_by(c.next_at).limit(MOST_AT_ONCE)
        ).all()
        return list(rows), con.scalar(
            sa.select(sa.func.min(c.next_at)).where(*mine, c.next_at > now)
        )

    def fire(self, con: sa.Connection, schedule_id: str) -> Literal["run", "skipped", "none"]:
        """Deal with one that may be due: run it, skip it, or pause it; then it is due next time.
        `none` where somebody else was first."""
        its = sa.select(schedule).where(schedule.c.id == schedule_id)
        found = con.execute(its).first()
        if found is None:
            return "none"
        home = home_of(con, found.conversation)
        now = self._table.clock()
        row = con.execute(its.where(is_active, schedule.c.next_at <= now).with_for_update()).first()
        if row is None:
            return "none"
        if self._stopped(con, row, home, now):
            return "skipped"
        timing = Timing(row.expression, row.zone)
        latest, following = self._times(timing, row.next_at, now)
        moved = {"next_at": following, "state": "over" if following is None else "active"}
        con.execute(schedule.update().where(schedule.c.id == row.id).values(moved))
        if latest is None:
            why = f"it was due on {timing.shown(row.next_at)}, when Bascule was not running"
            self._skip(con, row, f"missed.{int(row.next_at)}", why)
            return "skipped"
        if not self._table.run(con, row, home, latest):
            why = f"it was due on {timing.shown(latest)}, and its run before is not over"
            self._skip(con, row, f"busy.{int(latest)}", why)
            return "skipped"
        return "run"

    def _times(self, timing: Timing, due: float, now: float) -> tuple[float | None, float | None]:
        """(the last time it should have run and still may, the next one after now)."""
        late = self._table.limits.late_minutes * 60
        # What was shown counts, also where a zone's rules have changed since.
        latest, following = due if now - due <= late else None, None
        for each in timing.runs(max(due, now - late - 1)):
            if each > now:
                following = each
                break
            if now - each <= late:
                latest = each
        return latest, following

    def _stopped(self, con: sa.Connection, row: Any, home: Any, now: float) -> bool:
        """Paused where it may not run any more, with a word about it."""
        why, elsewhere = "", False
        who = access.by_id(con, row.person)
        account = Identity(row.platform, row.tenant, row.user)
        found = access.find(con, account)
        if who is None or not admission.stands(con, self._table.db, who, account):
            why = "its owner is not let in here any more"
        elif found is None or found.id != row.person:
            why, elsewhere = "the account it was made with is not its owner's any more", True
        elif self._table.refusal(con, who, account, home):
            why, elsewhere = "its owner does not take part in its conversation any more", True
        else:
            try:
                Timing(row.expression, row.zone)
            except NotATime as error:
                why = f"its time cannot be read any more ({error})"
        if why:
            name = access.name_of(con, row.person)
            text = f"{title(row, name)} is paused: {why}."
            told = word(row, f"paused.{int(now)}", text, elsewhere=elsewhere)
            self._table.pause(con, row, why, **told)
        return bool(why)

    def _skip(self, con: sa.Connection, row: Any, kind: str, why: str) -> None:
        """One that is skipped again and again is told once."""
        told = {}
        if not row.skipped:
            name = access.name_of(con, row.person)
            told = word(row, kind, f"{title(row, name)} did not run: {why}.")
        values = {"skipped": why, **told}
        con.execute(schedule.update().where(schedule.c.id == row.id).values(values))

    def displaced(self, con: sa.Connection, message_id: int, why: str) -> None:
        """The platform has no place for a run: its schedule is paused, its owner told elsewhere.
        The same again changes nothing."""
        its = sa.select(message.c.schedule).where(message.c.id == message_id)
        query = sa.select(schedule).where(schedule.c.id == its.scalar_subquery())
        row = con.execute(query.with_for_update()).first()
        if row is None or row.state == "paused":
            return
        name = access.name_of(con, row.person)
        text = (
            f"{title(row, name)} is paused: nothing can be posted where it runs. {why} Make it "
            "anew where it should run, or `schedule resume` it once it can."
        )
        told = word(row, f"displaced.{message_id}", text, elsewhere=True)
        self._table.pause(con, row, "nothing can be posted where it runs", **told)

    # ---- words ----

    def words(self, con: sa.Connection) -> list[Word]:
        """What is to be told and nobody is telling: this node has a minute for it."""
        now = self._table.clock()
        c = schedule.c
        rows = con.execute(
            sa.select(schedule)
            .where(c.word.is_not(None), c.word_until < now)
            .where(c.platform.in_(self._table.platforms))
            .limit(MOST_AT_ONCE)
            .with_for_update(skip_locked=True)
        ).all()
        taken = schedule.update().where(c.id.in_([row.id for row in rows]))
        con.execute(taken.values(word_until=now + WORD_SECONDS))
        return [Word(r.id, r.word["key"], r.word["text"], self._place(con, r)) for r in rows]

    def said(self, con: sa.Connection, told: Word) -> None:
        """It was told; another word that came meanwhile stays."""
        c = schedule.c
        query = sa.select(c.word).where(c.id == told.schedule).with_for_update()
        now = con.execute(query).first()
        if now is not None and now.word is not None and now.word["key"] == told.key:
            con.execute(schedule.update().where(c.id == told.schedule).values(word=sa.null()))

    def _place(self, con: sa.Connection, row: Any) -> Address | None:
        """Where it runs; or the place where its owner, and nobody else, wrote last."""
        if not row.word["elsewhere"]:
            return places.address_of(self._table.home_of(con, row))
        c = conversation.c
        direct = sa.select(conversation).where(
            c.owner == row.person,
            c.direct.is_(True),
            c.id != row.conversation,
            c.platform.in_(self._table.platforms),
        )
        found = con.execute(direct.order_by(c.last_active.desc()).limit(1)).first()
        return None if found is None else places.address_of(found)

    def forget(self, con: sa.Connection) -> None:
        """Cards that nobody confirmed, and what has long been over."""
        now, c = self._table.clock(), schedule.c
        old = sa.or_(
            sa.and_(c.state == "proposed", c.made_at < now - PROPOSAL_SECONDS),
            sa.and_(c.state == "over", c.word.is_(None), c.made_at < now - OVER_SECONDS)
            & (sa.func.coalesce(c.last_at, 0) < now - OVER_SECONDS),
        )
        con.execute(schedule.delete().where(old))
