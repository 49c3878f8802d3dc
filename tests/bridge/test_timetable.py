"""The contract of schedules on any database: each run is stored once, whoever looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from adapters.contract import Address, Identity
from bridge.conversations import places
from bridge.engine.inbox import Inbox
from bridge.engine.pending import stop_message
from bridge.people import access
from bridge.schedules.due import OVER_SECONDS, PROPOSAL_SECONDS, WORD_SECONDS, Due
from bridge.schedules.limits import Limits
from bridge.schedules.timetable import Timetable
from bridge.schedules.timing import Timing
from bridge.store.database import Database
from bridge.store.dialects import database_at
from bridge.store.migrate import migrate
from bridge.store.schema import conversation, is_open, message, schedule
from tests.bridge.postgres import Postgres

NOON = 1_774_612_800.0  # Friday, 27 March 2026, 12:00 UTC
HOUR = 3600.0
OLGA = Identity("memory", "t", "olga")
HERE = Address("memory", "t", "c1", direct=True)


class Rows:
    """A database, two nodes that look at its schedules, a clock that the test moves, a person."""

    def __init__(self, dbs: list[Database]) -> None:
        self.db = dbs[0]
        self.dbs = dbs
        self.time = NOON
        self.tables = [Timetable(db, ["memory"], Limits(), lambda: self.time) for db in dbs]
        self.table = self.tables[0]
        self.nodes = [Due(table) for table in self.tables]

    async def people(self) -> None:
        def fn(con: sa.Connection):
            olga = access.add(con, self.db, OLGA, "Olga", "member")
            home = places.open_or_create(con, self.db, HERE, owner=olga.id)
            return olga, home

        self.olga, self.home = await self.db.tx(fn)

    async def make(self, expression: str = "every day at 13:00", text: str = "say hello"):
        """One that was confirmed."""

        def fn(con: sa.Connection):
            timing = Timing(expression, "UTC")
            row = self.table.propose(con, self.olga, OLGA, self.home, timing, text)
            assert self.table.start(con, row) == ""
            return self.table.proposed(con, row.id)

        return await self.db.tx(fn)

    async def row(self, made):
        return await self.db.tx(self.table.proposed, made.id)

    async def look(self, node: int = 0) -> list[str]:
        """What became of what one node finds due."""
        found, _ = await self.dbs[node].tx(self.nodes[node].look)
        return [await self.dbs[node].tx(self.nodes[node].fire, each) for each in found]

    async def messages(self):
        query = sa.select(message).order_by(message.c.id)
        return await self.db.tx(lambda con: con.execute(query).all())

    async def end_all(self) -> None:
        """Every message that is open is over."""

        def fn(con: sa.Connection) -> None:
            for row in con.execute(sa.select(message).where(is_open)).all():
                stop_message(con, self.db, row)

        await self.db.tx(fn)

    async def words(self, node: int = 0) -> list[str]:
        """What is told now; it is told for good."""
        found = await self.dbs[node].tx(self.nodes[node].words)
        for each in found:
            await self.dbs[node].tx(self.nodes[node].said, each)
        return [each.text for each in found]


class TimetableContract:
    """Subclass it with a fixture `dbs`: two open `Database`s on one migrated, empty database; on
    SQLite, which is one process's, twice the same."""

    @pytest.fixture
    async def rows(self, dbs) -> Rows:
        made = Rows(dbs)
        await made.people()
        return made

    async def test_nothing_before_its_time(self, rows):
        """What is not due yet, and what was never confirmed, does nothing."""
        made = await rows.make()
        timing = Timing("every day at 12:30", "UTC")
        await rows.db.tx(rows.table.propose, rows.olga, OLGA, rows.home, timing, "say no")
        found, coming = await rows.db.tx(rows.nodes[0].look)
        assert (found, coming) == ([], NOON + HOUR)
        rows.time = NOON + 0.75 * HOUR
        assert await rows.look() == []
        assert await rows.db.tx(rows.nodes[0].fire, made.id) == "none"
        assert await rows.messages() == []

    async def test_a_run_is_a_message_of_its_maker(self, rows):
        """It comes from their account, last in its conversation, with a post that names it."""
        made = await rows.make()
        rows.time = NOON + HOUR
        assert await rows.look() == ["run"]
        [one] = await rows.messages()
        assert one.payload["sender"]["identity"] == {
            "platform": "memory", "tenant": "t", "user": "olga",
        }  # fmt: skip
        assert (one.payload["text"], one.status, one.schedule) == ("say hello", "queued", made.id)
        assert one.announcement == "Schedule 1 of Olga (“say hello”), every day at 13:00."
        row = await rows.row(made)
        assert (row.last_at, row.next_at) == (NOON + HOUR, NOON + 25 * HOUR)
        inbox = Inbox(rows.db, "n1", ["memory"], 60)
        [lease], _ = await rows.db.tx(inbox.pick, 10)
        job = await rows.db.tx(inbox.take, lease)
        assert (job.request["prompt"], job.request["asker"]["person"]) == (
            "say hello",
            rows.olga.id,
        )

    async def test_many_looks_at_once(self, rows):
        """Two nodes and many tasks that find the same ones due store each run once."""
        for number in range(10):
            await rows.make(text=f"say {number}")
        rows.time = NOON + HOUR
        done = await asyncio.gather(*(rows.look(node) for node in (0, 1, 0, 1, 0, 1)))
        became = [one for each in done for one in each]
        assert became.count("run") == 10
        assert set(became) <= {"run", "none"}
        found = sorted(one.payload["text"] for one in await rows.messages())
        assert found == [f"say {number}" for number in range(10)]
        query = sa.select(conversation.c.pending)
        assert await rows.db.tx(lambda con: con.scalar(query)) == 10

    async def test_nothing_of_a_run_that_breaks_off(self, rows):
        """A node that dies before its transaction is through leaves the run as due as before."""
        made = await rows.make()
        rows.time = NOON + HOUR

        def dies(con: sa.Connection) -> None:
            assert rows.nodes[0].fire(con, made.id) == "run"
            raise RuntimeError("killed")

        with pytest.raises(RuntimeError):
            await rows.db.tx(dies)
        assert await rows.messages() == []
        assert await rows.look(1) == ["run"]
        assert await rows.look(0) == []
        assert len(await rows.messages()) == 1

    async def test_missed_by_little(self, rows):
        """Of several times that were missed the last one runs, once, and says when it was due."""
        made = await rows.make("every 15 min from 13:00 to 18:00")
        rows.time = NOON + 1.8 * HOUR
        assert await rows.look() == ["run"]
        [one] = await rows.messages()
        assert one.announcement.endswith("It was due on Fri 27 Mar 2026, 13:45.")
        assert (await rows.row(made)).next_at == NOON + 2 * HOUR

    async def test_missed_by_much(self, rows):
        """What is later than allowed is skipped and told; the next one runs."""
        made = await rows.make()
        rows.time = NOON + 2 * HOUR + 2
        assert await rows.look() == ["skipped"]
        assert await rows.messages() == []
        [told] = await rows.words()
        assert "did not run: it was due on Fri 27 Mar 2026, 13:00, when Bascule was not" in told
        assert await rows.words() == []
        assert (await rows.row(made)).next_at == NOON + 25 * HOUR
        rows.time = NOON + 25 * HOUR
        assert await rows.look() == ["run"]
        assert (await rows.row(made)).skipped == ""

    async def test_just_in_time(self, rows):
        """At exactly the latest moment it still runs."""
        await rows.make()
        rows.time = NOON + 2 * HOUR
        assert await rows.look() == ["run"]

    async def test_the_rules_of_a_zone_changed(self, rows):
        """What was shown as its next run is run then, also where it is none by today's rules."""
        made = await rows.make()

        def fn(con: sa.Connection) -> None:
            con.execute(schedule.update().values(next_at=NOON + 0.5 * HOUR))

        await rows.db.tx(fn)
        rows.time = NOON + 0.5 * HOUR
        assert await rows.look() == ["run"]
        row = await rows.row(made)
        assert (row.last_at, row.next_at) == (NOON + 0.5 * HOUR, NOON + HOUR)

    async def test_busy(self, rows):
        """While its run before is open it is skipped, told once, and runs again afterwards."""
        made = await rows.make("every 1 hour from 0:00 to 23:59")
        done = []
        for hour in (1, 2, 3):
            rows.time = NOON + hour * HOUR
            done += await rows.look()
        assert done == ["run", "skipped", "skipped"]
        [told] = await rows.words()
        assert "14:00, and its run before is not over" in told
        await rows.end_all()
        rows.time = NOON + 4 * HOUR
        assert await rows.look() == ["run"]
        assert await rows.words() == []
        assert (await rows.row(made)).skipped == ""

    async def test_another_platform(self, rows):
        """What belongs to a platform that does not run here waits for a node where it does."""
        await rows.make()
        rows.time = NOON + HOUR
        elsewhere = Due(Timetable(rows.db, ["slack"], Limits(), lambda: rows.time))
        assert await rows.db.tx(elsewhere.look) == ([], None)
        assert await rows.look() == ["run"]

    async def test_once(self, rows):
        """What has one time is over after it, does not count any more, and is forgotten later."""
        made = await rows.make("on 2026-03-27 at 13:00")
        rows.time = NOON + HOUR
        assert await rows.look() == ["run"]
        row = await rows.row(made)
        assert (row.state, row.next_at) == ("over", None)
        await rows.db.tx(rows.nodes[0].forget)
        assert len(await rows.db.tx(rows.table.of_person, rows.olga.id)) == 1
        rows.time += OVER_SECONDS + 1
        await rows.db.tx(rows.nodes[0].forget)
        assert await rows.db.tx(rows.table.of_person, rows.olga.id) == []

    async def test_a_card_that_nobody_confirms(self, rows):
        """It is forgotten after a day; what was confirmed stays."""
        kept = await rows.make()
        timing = Timing("every day at 12:30", "UTC")
        made = await rows.db.tx(rows.table.propose, rows.olga, OLGA, rows.home, timing, "say no")
        await rows.db.tx(rows.nodes[0].forget)
        assert await rows.row(made) is not None
        rows.time += PROPOSAL_SECONDS + 1
        await rows.db.tx(rows.nodes[0].forget)
        assert await rows.row(made) is None
        assert await rows.row(kept) is not None

    @pytest.mark.parametrize("trouble", ["blocked", "unlinked", "taken", "unread"])
    async def test_what_may_not_run_any_more(self, rows, trouble):
        """It is paused with the reason, nothing is asked, and it does not come back by itself."""
        made = await rows.make()

        def fn(con: sa.Connection) -> None:
            if trouble == "blocked":
                con.execute(sa.text("UPDATE person SET role = 'blocked'"))
            elif trouble == "unlinked":
                con.execute(sa.text("DELETE FROM identity"))
            elif trouble == "taken":
                other = access.add(con, rows.db, Identity("memory", "t", "x"), "X", "member")
                con.execute(conversation.update().values(owner=other.id))
            else:
                con.execute(schedule.update().values(expression="every blue moon"))

        await rows.db.tx(fn)
        rows.time = NOON + HOUR
        assert await rows.look() == ["skipped"]
        row = await rows.row(made)
        assert (row.state, row.next_at, bool(row.why)) == ("paused", None, True)
        [told] = await rows.words()
        assert "is paused: " in told
        rows.time = NOON + 25 * HOUR
        assert await rows.look() == []
        assert await rows.messages() == []

    async def test_one_node_tells(self, rows):
        """A word is with one node for a minute; one that died leaves it to another."""
        await rows.make()
        rows.time = NOON + 3 * HOUR
        await rows.look()
        first = await rows.db.tx(rows.nodes[0].words)
        assert len(first) == 1
        assert await rows.words(1) == []
        rows.time += WORD_SECONDS + 1
        assert len(await rows.words(1)) == 1
        rows.time += WORD_SECONDS + 1
        assert await rows.words(0) == []

    async def test_a_later_word_stays(self, rows):
        """What was told does not take away what came meanwhile."""
        made = await rows.make("every 2 hours from 13:00 to 23:00")
        rows.time = NOON + 2.5 * HOUR
        await rows.look()
        [first] = await rows.db.tx(rows.nodes[0].words)
        await rows.db.tx(lambda con: con.execute(sa.text("UPDATE person SET role = 'blocked'")))
        rows.time = NOON + 3 * HOUR
        await rows.look()
        await rows.db.tx(rows.nodes[0].said, first)
        [told] = await rows.words()
        assert "is not let in" in told
        assert (await rows.row(made)).word is None

    async def test_one_proposal_a_person(self, rows):
        """A new one takes the place of the one before; what was confirmed keeps its number."""
        await rows.make()
        timing = Timing("every day at 12:30", "UTC")
        numbers = []
        for text in ("say a", "say b"):
            row = await rows.db.tx(rows.table.propose, rows.olga, OLGA, rows.home, timing, text)
            numbers.append(row.number)
        assert numbers == [2, 2]
        query = sa.select(sa.func.count()).select_from(schedule)
        assert await rows.db.tx(lambda con: con.scalar(query)) == 2


class TestSqliteTimetable(TimetableContract):
    @pytest.fixture
    async def dbs(self, tmp_path: Path) -> AsyncIterator[list[Database]]:
        url = f"sqlite:///{tmp_path / 'bridge.db'}"
        migrate(url)
        db = database_at(url)
        await db.open()
        yield [db, db]
        await db.close()


class TestPostgresTimetable(TimetableContract):
    @pytest.fixture
    async def dbs(self, postgres: Postgres) -> AsyncIterator[list[Database]]:
        with postgres.database() as url:
            both = [database_at(url), database_at(url)]
            for db in both:
                await db.open()
            yield both
            for db in both:
                await db.close()
