"""The store's contract: what the inbox promises on any database. A dialect is a subclass."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.contract import Address, Identity, MessageIn, Sender
from bridge.engine.clicks import stop_message
from bridge.engine.inbox import Inbox
from bridge.engine.job import LeaseLost
from bridge.store.database import Database
from bridge.store.dialects import database_at
from bridge.store.errors import StoreUnusable
from bridge.store.migrate import migrate
from bridge.store.schema import conversation, is_open, message, person, seen

OWNER = Sender(Identity("memory", "t", "owner"), "Olga", host_owner=True)
OPEN_COUNT = (
    sa.select(sa.func.count())
    .select_from(message)
    .where(is_open, message.c.conversation == conversation.c.id)
    .scalar_subquery()
)


def said(text: str, order: int, channel: str = "c1", keys: tuple[str, ...] = ()) -> MessageIn:
    return MessageIn(
        keys=keys or (f"k{order}",),
        address=Address("memory", "t", channel, direct=True),
        sender=OWNER,
        text=text,
        order=order,
        sent_at=datetime.now(UTC),
    )


class Store:
    """A database and the inboxes of two nodes on it."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.node, self.other = (Inbox(db, name, ["memory"], 60) for name in ("n1", "n2"))

    async def submit(self, one: MessageIn, inbox: Inbox | None = None, claim: bool = False):
        return await self.db.tx((inbox or self.node).submit, one, "", claim)

    async def claim(self, inbox: Inbox | None = None, most: int = 10):
        return await self.db.tx((inbox or self.node).pick, most)

    async def lapse(self) -> None:
        """Every lease runs out, as when its holder did not renew it for long enough."""
        await self.db.tx(lambda con: con.execute(conversation.update().values(lease_until=1.0)))

    async def count(self, table: sa.Table) -> int:
        query = sa.select(sa.func.count()).select_from(table)
        return await self.db.tx(lambda con: con.scalar(query))

    async def pending_is_true(self) -> None:
        """Each conversation's count is the number of its open messages."""
        query = sa.select(conversation.c.pending, OPEN_COUNT)
        rows = await self.db.tx(lambda con: con.execute(query).all())
        assert all(count == found for count, found in rows), rows


class StoreContract:
    """Subclass it with a fixture `store` whose database is migrated and empty."""

    async def test_any_known_key_makes_a_duplicate(self, store):
        """A platform may deliver one message under several ids: each of them is enough."""
        assert (await store.submit(said("x", 1, keys=("a", "b"))))[0] is True
        assert (await store.submit(said("x", 2, keys=("b", "c"))))[0] is False
        assert (await store.submit(said("x", 3, keys=("c",))))[0] is False
        assert (await store.submit(said("x", 4, keys=("d",))))[0] is True
        assert await store.count(message) == 2
        await store.pending_is_true()

    async def test_many_deliveries_at_once(self, store):
        """Of racing deliveries exactly one is stored."""
        found = await asyncio.gather(*(store.submit(said("x", 1)) for _ in range(20)))
        assert [new for new, _, _ in found].count(True) == 1
        await store.pending_is_true()

    async def test_order_of_the_platform(self, store):
        """Messages are taken by the platform's order, equal ones as they came."""
        for text, order in (("c", 3), ("a", 1), ("b1", 2), ("b2", 2)):
            await store.submit(said(text, order, keys=(text,)))
        [lease] = await store.claim()
        job = await store.db.tx(store.node.take, lease)
        taken = []
        while job is not None:
            taken.append(job.said.text)
            _, job = await store.db.tx(store.node.finish, job, "done", True)
        assert taken == ["a", "b1", "b2", "c"]
        assert await store.claim() == []

    async def test_a_submit_can_claim(self, store):
        """The first message of a quiet conversation is begun in the transaction that stored it;
        one behind another is not."""
        _, job, behind = await store.submit(said("x", 1), claim=True)
        assert (job.said.text, behind) == ("x", False)
        _, second, behind = await store.submit(said("y", 2), claim=True)
        assert (second, behind) == (None, True)
        assert await store.claim(store.other) == []

    async def test_a_claim_raises_the_fence(self, store):
        """Each claim has a higher number than all before, so that an old one is known as old."""
        await store.submit(said("x", 1))
        [first] = await store.claim()
        await store.lapse()
        [second] = await store.claim(store.other)
        assert second.conversation == first.conversation
        assert second.fence == first.fence + 1

    async def test_one_holder_at_a_time(self, store):
        """Nobody else gets a conversation while its lease lasts; others are free to be taken."""
        await store.submit(said("x", 1))
        await store.submit(said("x", 2, "c2"))
        assert len(await store.claim(most=1)) == 1
        assert len(await store.claim(store.other)) == 1
        assert await store.claim(store.other) == []

    async def test_longest_ready_first(self, store):
        """Who has waited longest is taken first, and no more than asked for."""
        for number in range(5):
            await store.submit(said(str(number), number + 1, f"c{number}"))
        leases = [lease for _ in range(5) for lease in await store.claim(most=1)]
        jobs = [await store.db.tx(store.node.take, lease) for lease in leases]
        assert [job.said.text for job in jobs] == ["0", "1", "2", "3", "4"]

    @pytest.mark.parametrize("step", ["take", "finish", "wait"])
    async def test_an_old_fence_writes_nothing(self, store, step):
        """A worker that lost its conversation is told so by its next write, which does nothing."""
        await store.submit(said("x", 1))
        [old] = await store.claim()
        job = await store.db.tx(store.node.take, old)
        await store.lapse()
        [new] = await store.claim(store.other)
        wrote = {
            "take": lambda: store.db.tx(store.node.take, old),
            "finish": lambda: store.db.tx(store.node.finish, job, "done", True),
            "wait": lambda: store.db.tx(store.node.wait, job, 7),
        }[step]
        with pytest.raises(LeaseLost):
            await wrote()
        again = await store.db.tx(store.other.take, new)
        assert (again.message, again.resumed, again.after_seq) == (job.message, True, 0)
        await store.db.tx(store.node.release, old)
        assert await store.db.tx(store.other.renew) == {new}
        await store.pending_is_true()

    async def test_renew(self, store):
        """A renewed lease lasts on; one that somebody took is not among the renewed."""
        await store.submit(said("x", 1))
        await store.submit(said("y", 2, "c2"))
        leases = set(await store.claim())
        assert await store.db.tx(store.node.renew) == leases
        await store.lapse()
        [taken] = await store.claim(store.other, most=1)
        [kept] = await store.db.tx(store.node.renew)
        assert {taken.conversation, kept.conversation} == {one.conversation for one in leases}
        assert await store.claim(store.other) == []

    async def test_a_lapsed_lease_is_not_taken_by_its_own_node(self, store):
        """After a full disk or a suspended machine the worker is still there: no second one of
        the same process joins it."""
        await store.submit(said("x", 1))
        [lease] = await store.claim()
        await store.lapse()
        assert await store.claim() == []
        assert await store.db.tx(store.node.renew) == {lease}

    async def test_take_back(self, store):
        """A start frees what an earlier process held, and has what waited looked at once."""
        await store.submit(said("x", 1))
        await store.submit(said("y", 2, "c2"))
        [first, second] = await store.claim()
        job = await store.db.tx(store.node.take, first)
        await store.db.tx(store.node.wait, job, 5)
        await store.db.tx(store.other.take_back)
        assert len(await store.claim(store.other)) == 2
        with pytest.raises(LeaseLost):
            await store.db.tx(store.node.take, second)

    async def test_release(self, store):
        """A lease that is given back can be taken at once, with what was begun in it."""
        await store.submit(said("x", 1))
        [lease] = await store.claim()
        begun = await store.db.tx(store.node.take, lease)
        await store.db.tx(store.node.release, lease)
        [other] = await store.claim(store.other)
        job = await store.db.tx(store.other.take, other)
        assert (job.resumed, job.turn_id) == (True, begun.turn_id)
        assert json.dumps(job.request) == json.dumps(begun.request)

    async def test_a_waiting_turn_holds_nothing_and_is_woken(self, store):
        """While a person is asked, nobody takes the conversation; once the turn went on, its
        message comes before all that was said meanwhile."""
        await store.submit(said("x", 5))
        [lease] = await store.claim()
        job = await store.db.tx(store.node.take, lease)
        await store.db.tx(store.node.wait, job, 5)
        await store.submit(said("earlier on the platform", 1))
        assert await store.claim() == []
        assert await store.db.tx(store.node.wake, "t_unknown") is False
        assert await store.db.tx(store.node.wake, job.turn_id) is True
        assert await store.db.tx(store.node.wake, job.turn_id) is False
        [lease] = await store.claim()
        again = await store.db.tx(store.node.take, lease)
        assert (again.said.text, again.after_seq) == ("x", 5)

    async def test_a_stop_before_the_wait_is_not_lost(self, store):
        """A turn that was to be stopped and begins to wait is ready at once, to be stopped."""
        await store.submit(said("x", 1))
        [lease] = await store.claim()
        job = await store.db.tx(store.node.take, lease)
        await store.db.tx(lambda con: stop(con, store.db, job.message))
        await store.db.tx(store.node.wait, job, 5)
        [lease] = await store.claim()
        assert (await store.db.tx(store.node.take, lease)).stop_asked is True

    async def test_only_enabled_platforms(self, store):
        """Conversations of a platform that is switched off are left alone, and kept."""
        await store.submit(said("x", 1))
        assert await store.claim(Inbox(store.db, "n3", ["slack"], 60)) == []
        assert len(await store.claim()) == 1

    @pytest.mark.parametrize("durable", [True, False])
    async def test_nothing_of_a_transaction_that_raises(self, store, durable):
        """What a failed transaction wrote is gone, and the next one works."""

        def fails(con: sa.Connection) -> None:
            store.node.submit(con, said("x", 1), "", True)
            raise KeyError("in the middle")

        with pytest.raises(KeyError):
            await store.db.tx(fails, durable=durable)
        for table in (message, conversation, seen, person):
            assert await store.count(table) == 0
        assert (await store.submit(said("x", 1)))[0] is True

    async def test_the_clock_is_the_databases(self, store):
        """It counts in seconds since the epoch, with fractions, and goes on within a connection."""
        first = await store.db.tx(lambda con: con.scalar(sa.select(store.db.now)))
        await asyncio.sleep(0.02)
        second = await store.db.tx(lambda con: con.scalar(sa.select(store.db.now)))
        assert second > first
        assert abs(datetime.now(UTC).timestamp() - second) < 60

    async def test_closed(self, store):
        """After closing, calls are refused in words; closing again is harmless."""
        await store.db.close()
        await store.db.close()
        with pytest.raises(StoreUnusable, match="not open"):
            await store.count(message)

    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(seed=st.integers(0, 2**32))
    def test_counts_stay_true(self, path, seed):
        """Whatever happens in whatever order: the counts are right, each message is finished
        once, and in the end nothing is left."""
        asyncio.run(self.random_life(path / str(seed), random.Random(seed)))

    async def random_life(self, path: Path, dice: random.Random) -> None:
        async for store in self.fresh(path):
            life = Life(store, dice)
            for _ in range(60):
                await dice.choice(life.steps)()
                await store.pending_is_true()
            await life.come_to_an_end()
            assert sorted(life.over) == sorted(set(life.over))
            assert sorted(life.over) == sorted(await store.db.tx(done))


class Life:
    """Two nodes that do what nodes do, in any order."""

    def __init__(self, store: Store, dice: random.Random) -> None:
        self.store, self.dice = store, dice
        self.held: list[tuple] = []
        self.waiting: list[str] = []
        self.over: list[int] = []
        self.number = 0
        self.steps = [
            self.say, self.say, self.repeat, self.pick, self.pick, self.go_on, self.go_on,
            self.wait, self.wake, self.stop, self.crash, self.store.lapse, self.renew,
        ]  # fmt: skip

    def inbox(self) -> Inbox:
        return self.dice.choice([self.store.node, self.store.other])

    async def say(self) -> None:
        self.number += 1
        one = said("x", self.dice.randrange(1, 9), f"c{self.dice.randrange(3)}")
        inbox = self.inbox()
        one = replace(one, keys=(f"k{self.number}",))
        _, job, _ = await self.store.submit(one, inbox, self.dice.random() < 0.5)
        if job is not None:
            self.held.append((inbox, job))

    async def repeat(self) -> None:
        if self.number:
            key = f"k{self.dice.randrange(1, self.number + 1)}"
            new, job, _ = await self.store.submit(said("x", 1, keys=(key,)), claim=True)
            assert (new, job) == (False, None)

    async def pick(self) -> None:
        inbox = self.inbox()
        for lease in await self.store.claim(inbox, 2):
            job = await self.store.db.tx(inbox.take, lease)
            if job is not None:
                self.held.append((inbox, job))

    async def take_one(self):
        return self.held.pop(self.dice.randrange(len(self.held))) if self.held else None

    async def go_on(self) -> None:
        if (mine := await self.take_one()) is None:
            return
        inbox, job = mine
        try:
            more = self.dice.random() < 0.5
            _, following = await self.store.db.tx(inbox.finish, job, "done", more)
        except LeaseLost:
            return
        self.over.append(job.message)
        if following is not None:
            self.held.append((inbox, following))

    async def wait(self) -> None:
        if (mine := await self.take_one()) is None:
            return
        inbox, job = mine
        try:
            await self.store.db.tx(inbox.wait, job, 3)
        except LeaseLost:
            return
        self.waiting.append(job.turn_id)

    async def wake(self) -> None:
        if self.waiting:
            await self.store.db.tx(self.inbox().wake, self.waiting.pop())

    async def stop(self) -> None:
        if self.number:
            some = self.dice.randrange(1, self.number + 1)
            await self.store.db.tx(lambda con: stop(con, self.store.db, some))

    async def crash(self) -> None:
        self.held.clear()
        await self.store.db.tx(self.store.node.take_back)

    async def renew(self) -> None:
        await self.store.db.tx(self.inbox().renew)

    async def come_to_an_end(self) -> None:
        await self.crash()
        while leases := await self.store.claim():
            for lease in leases:
                job = await self.store.db.tx(self.store.node.take, lease)
                while job is not None:
                    self.over.append(job.message)
                    _, job = await self.store.db.tx(self.store.node.finish, job, "done", True)
        open_ones = sa.select(sa.func.count()).select_from(message).where(is_open)
        assert await self.store.db.tx(lambda con: con.scalar(open_ones)) == 0
        await self.store.pending_is_true()


def done(con: sa.Connection) -> list[int]:
    return list(con.scalars(sa.select(message.c.id).where(message.c.status == "done")))


def stop(con: sa.Connection, db: Database, message_id: int) -> bool:
    row = con.execute(sa.select(message).where(message.c.id == message_id)).first()
    return row is not None and stop_message(con, db, row)


class TestSqlite(StoreContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path

    @pytest.fixture
    async def store(self, path: Path) -> AsyncIterator[Store]:
        async for made in self.fresh(path):
            yield made

    async def fresh(self, path: Path) -> AsyncIterator[Store]:
        url = f"sqlite:///{path / 'bridge.db'}"
        migrate(url)
        db = database_at(url)
        await db.open()
        yield Store(db)
        await db.close()

    async def test_partial_indexes_are_used(self, store):
        """A million finished messages must not slow the queries that run all the time."""
        seen_sql: list[tuple[str, object]] = []

        def watch(con, cursor, sql, parameters, context, many):
            seen_sql.append((sql, parameters))

        sa.event.listen(store.db._engine, "before_cursor_execute", watch)
        await store.submit(said("x", 1))
        [lease] = await store.claim()
        job = await store.db.tx(store.node.take, lease)
        await store.db.tx(store.node.renew)
        await store.db.tx(store.node.take_back)
        await store.db.tx(store.node.wake, job.turn_id)
        sa.event.remove(store.db._engine, "before_cursor_execute", watch)
        plans = {}
        for sql, parameters in seen_sql:
            if sql.startswith(("SELECT", "UPDATE")):
                rows = await store.db.tx(
                    lambda con, sql=sql, values=parameters: con.exec_driver_sql(
                        f"EXPLAIN QUERY PLAN {sql}", values
                    ).all()
                )
                plans[sql] = " / ".join(row[-1] for row in rows)
        for index in ("conversation_ready", "conversation_leased", "message_open"):
            assert any(index in plan for plan in plans.values()), plans
        # Only a start may read all conversations.
        whole = [sql for sql, plan in plans.items() if "SCAN" in plan and "USING" not in plan]
        assert ["waiting_turn IS NOT NULL" in sql for sql in whole] == [True]

    async def test_the_file_is_nobody_elses(self, store, path):
        """Messages are private: only the owner of the deployment may read the file."""
        assert (path / "bridge.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "is not a database URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql://u:pw@h/d", "postgresql is not supported yet"),
    ],
)
def test_bad_urls(url, told):
    """A URL that cannot work is refused by the name of its setting, without its password."""
    with pytest.raises(StoreUnusable, match=told) as caught:
        database_at(url)
    assert str(caught.value).startswith("BRIDGE_DATABASE_URL:")
    assert "pw" not in str(caught.value)
