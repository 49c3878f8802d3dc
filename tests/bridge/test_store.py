"""The store's contract: what the inbox promises on any database. A dialect is a subclass."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.contract import Address, Identity, MessageIn, Sender
from bridge.budgets.budgets import Budgets, Rules
from bridge.engine.clicks import stop_message
from bridge.engine.inbox import MOST_FAILURES, Inbox
from bridge.engine.job import LeaseLost
from bridge.engine.leader import Leader
from bridge.engine.problem import problem_with
from bridge.engine.retention import Retention
from bridge.store.database import Database
from bridge.store.dialects import database_at
from bridge.store.errors import StoreAway, StoreUnusable
from bridge.store.migrate import migrate
from bridge.store.schema import conversation, decision, is_open, message, person, post, seen
from tests.bridge.house import until
from tests.bridge.postgres import Postgres

OWNER = Sender(Identity("memory", "t", "owner"), "Olga", host_owner=True)
OTHER = Sender(Identity("memory", "t", "other"), "Otto", host_owner=True)
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
        leases, _ = await self.db.tx((inbox or self.node).pick, most)
        return leases

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
    """Subclass it with a fixture `place` and `fresh(place)`, which gives one `Store` whose
    database is migrated and empty."""

    @pytest.fixture
    async def store(self, place) -> AsyncIterator[Store]:
        async for made in self.fresh(place):
            yield made

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

    async def test_one_person_leaves_room_for_others(self, store):
        """Of one person no more than their share is worked on, and whoever has the least comes
        first, however long the other one's conversations have been ready."""
        node = Inbox(store.db, "n1", ["memory"], 60, 3)
        for number in range(6):
            await store.submit(said("x", number + 1, f"c{number}"))
        busy = await store.claim(node, 2)
        for number in range(2):
            one = replace(said("y", 10 + number, f"d{number}"), sender=OTHER)
            await store.submit(one)
        [third] = await store.claim(node, 1)
        at = sa.select(conversation.c.channel).where(conversation.c.id == third.conversation)
        assert await store.db.tx(lambda con: con.scalar(at)) == "d0"
        leases, left = await store.db.tx(node.pick, 10)
        channels = sa.select(conversation.c.channel).where(
            conversation.c.id.in_([lease.conversation for lease in leases])
        )
        found = await store.db.tx(lambda con: sorted(con.scalars(channels)))
        assert (found, left) == (["c2", "d1"], True)
        _, job, _ = await store.submit(said("z", 20, "c9"), node, claim=True)
        assert job is None
        await store.db.tx(node.release, busy[0])
        _, job, _ = await store.submit(said("z", 21, "c10"), node, claim=True)
        assert job is not None

    async def test_a_message_that_fails_for_good(self, store):
        """It is tried a few times, with growing pauses; then it can be given up, and the next
        one is taken."""
        await store.submit(said("bad", 1))
        await store.submit(said("good", 2))
        spoil = message.update().where(message.c.order == 1).values(payload={"rubbish": True})
        await store.db.tx(lambda con: con.execute(spoil).rowcount)
        for failures in range(1, MOST_FAILURES + 1):
            [lease] = await store.claim()
            with pytest.raises(ValidationError):
                await store.db.tx(store.node.take, lease)
            spoiled = await store.db.tx(store.node.stumble, lease)
            assert (spoiled is None) == (failures < MOST_FAILURES)
            if spoiled is None:
                assert await store.claim() == []  # not before its pause is over
                await store.db.tx(past)
        await store.db.tx(store.node.give_up, lease, spoiled.message)
        job = await store.db.tx(store.node.take, lease)
        assert job.said.text == "good"
        await store.pending_is_true()

    @pytest.mark.parametrize("more", [True, False])
    async def test_a_step_that_is_done_twice(self, store, more):
        """The answer to a commit may be lost: to finish or to wait once more changes nothing."""
        await store.submit(said("x", 1))
        await store.submit(said("y", 2))
        [lease] = await store.claim()
        job = await store.db.tx(store.node.take, lease)
        _, following = await store.db.tx(store.node.finish, job, "done", more)
        if more:
            _, again = await store.db.tx(store.node.finish, job, "done", True)
            assert (again.message, again.resumed) == (following.message, True)
        else:
            with pytest.raises(LeaseLost):
                await store.db.tx(store.node.finish, job, "done", False)
            [lease] = await store.claim()
            again = await store.db.tx(store.node.take, lease)
        await store.pending_is_true()
        await store.db.tx(store.node.wait, again, 5)
        await store.db.tx(store.node.wait, again, 5)
        assert await store.db.tx(store.node.waiting) == [(again.turn_id, 5)]

    async def test_a_handover(self, store):
        """A node that stops leaves all it holds to the others at once."""
        await store.submit(said("x", 1))
        await store.submit(said("y", 2, "c2"))
        assert len(await store.claim()) == 2
        await store.db.tx(store.node.hand_over)
        assert len(await store.claim(store.other)) == 2

    async def test_a_stop_is_seen_by_whoever_holds_it(self, store):
        """A stop that was asked anywhere is found by the node at work, and by no other."""
        await store.submit(said("x", 1))
        [lease] = await store.claim()
        job = await store.db.tx(store.node.take, lease)
        assert await store.db.tx(store.node.asked_to_stop) == []
        await store.db.tx(lambda con: stop(con, store.db, job.message))
        assert await store.db.tx(store.node.asked_to_stop) == [job.message]
        assert await store.db.tx(store.other.asked_to_stop) == []

    async def test_retention(self, store):
        """What is over and old goes with all that belongs to it, in small steps; what is open,
        waits, or is young stays."""
        for number in range(7):
            await store.submit(said("x", number + 1, f"c{number}"))
        leases = await store.claim()
        jobs = [await store.db.tx(store.node.take, lease) for lease in leases]
        for job in jobs:
            await store.db.tx(keep, store.db, job)
        for job in jobs[:4]:
            await store.db.tx(store.node.finish, job, "done", False)
        await store.db.tx(store.node.wait, jobs[4], 3)
        old = [jobs[number].message for number in (0, 1, 2)]
        past_times = message.update().where(message.c.id.in_(old)).values(done_at=1.0)
        await store.db.tx(lambda con: con.execute(past_times).rowcount)
        for table in (message.update().values(received_at=1.0), post.update().values(at=1.0)):
            await store.db.tx(lambda con, table=table: con.execute(table).rowcount)
        first = seen.update().where(seen.c.key == "memory:message:k1").values(at=1.0)
        await store.db.tx(lambda con: con.execute(first).rowcount)
        await Retention(store.db, Budgets(store.db, Rules()), 30).forget()
        left = await store.db.tx(lambda con: sorted(con.scalars(sa.select(message.c.id))))
        assert left == sorted(job.message for job in jobs[3:])
        for table in (post, decision):
            column = sa.select(table.c.message)
            found = await store.db.tx(lambda con, column=column: sorted(con.scalars(column)))
            assert found == left
        assert await store.count(conversation) == 7
        assert await store.count(seen) == 6
        assert (await store.submit(said("x", 2)))[0] is False
        await store.pending_is_true()

    async def test_one_leader(self, store):
        """What one node does at a time is done by one, goes on elsewhere when that one stops,
        and nowhere while it lasts."""
        at_work: list[str] = []

        async def work(name: str) -> None:
            at_work.append(name)
            await asyncio.Event().wait()

        first, second = (Leader(store.db, name) for name in ("n1", "n2"))
        one = asyncio.create_task(first.run("feed", lambda: work("n1")))
        await until(lambda: at_work)
        assert await second._asked("feed") is False
        two = asyncio.create_task(second.run("feed", lambda: work("n2")))
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        await until(lambda: at_work == ["n1", "n2"])
        assert await first._asked("feed") is False
        two.cancel()
        await asyncio.gather(two, return_exceptions=True)

    async def test_a_leader_survives(self, store):
        """A database that fails in an unknown way, and work that fails, end nothing: it is told,
        and begins anew."""
        begun: list[str] = []

        async def work() -> None:
            begun.append("work")
            raise ZeroDivisionError

        leader = Leader(store.db, "n1")
        rename = sa.text("ALTER TABLE lease RENAME TO lost")
        await store.db.tx(lambda con: con.execute(rename).rowcount)
        task = asyncio.create_task(leader.keep("feed", work, 0.01))
        await until(lambda: leader.troubles)
        assert begun == []
        back = sa.text("ALTER TABLE lost RENAME TO lease")
        await store.db.tx(lambda con: con.execute(back).rowcount)
        await until(lambda: len(begun) >= 3)
        [told] = leader.troubles
        assert "ZeroDivisionError" in told
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

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
        max_examples=6,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.differing_executors,  # one contract, a class a dialect
        ],
    )
    @given(seed=st.integers(0, 2**32))
    def test_counts_stay_true(self, place, seed):
        """Whatever happens in whatever order: the counts are right, each message is finished
        once, and in the end nothing is left."""
        asyncio.run(self.random_life(place, random.Random(seed)))

    async def random_life(self, place, dice: random.Random) -> None:
        async for store in self.fresh(place):
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
        self.number = self.crashes = 0
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
        """Both nodes die; others start, and what those two held has run out."""
        self.held.clear()
        await self.store.lapse()
        self.crashes += 1
        self.store.node, self.store.other = (
            Inbox(self.store.db, f"n{number}.{self.crashes}", ["memory"], 60) for number in (1, 2)
        )
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


def past(con: sa.Connection) -> None:
    """No pause lasts any more."""
    con.execute(conversation.update().values(ready_at=1.0))


def keep(con: sa.Connection, db: Database, job) -> None:
    """A post and a decision of a message."""
    its = {"message": job.message, "conversation": job.lease.conversation}
    con.execute(post.insert().values(key=job.turn_id, ref="p", at=db.now, **its))
    con.execute(decision.insert().values(id=job.turn_id, turn_id=job.turn_id, shown={}, **its))


def done(con: sa.Connection) -> list[int]:
    return list(con.scalars(sa.select(message.c.id).where(message.c.status == "done")))


def stop(con: sa.Connection, db: Database, message_id: int) -> bool:
    row = con.execute(sa.select(message).where(message.c.id == message_id)).first()
    return row is not None and stop_message(con, db, row)


class TestSqlite(StoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path

    async def fresh(self, place: Path) -> AsyncIterator[Store]:
        file = Path(tempfile.mkdtemp(dir=place)) / "bridge.db"
        url = f"sqlite:///{file}"
        migrate(url)
        db = database_at(url)
        await db.open()
        yield Store(db)
        await db.close()

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

    async def test_a_database_that_somebody_else_holds(self, store):
        """A backup or a shell that holds the write lock is waited for, and then told as what may
        pass, with what to do; nothing is lost by it, and all goes on afterwards."""
        other = sqlite3.connect(store.db.name, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        def hurry() -> None:
            store.db._connection.connection.driver_connection.execute("PRAGMA busy_timeout=20")

        await asyncio.get_running_loop().run_in_executor(store.db._thread, hurry)
        with pytest.raises(StoreAway, match="Another program holds") as told:
            await store.submit(said("x", 1))
        assert "a backup" in told.value.remedy
        other.execute("ROLLBACK")
        other.close()
        assert (await store.submit(said("x", 1)))[0] is True

    async def test_a_database_that_cannot_be_written(self, store):
        """The same for one whose disk became read-only."""

        def forbid() -> None:
            store.db._connection.connection.driver_connection.execute("PRAGMA query_only=ON")

        await asyncio.get_running_loop().run_in_executor(store.db._thread, forbid)
        with pytest.raises(StoreAway, match="cannot be written"):
            await store.submit(said("x", 1))
        assert (await store.submit(said("x", 1)))[0] is True

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

    async def test_the_file_is_nobody_elses(self, store):
        """Messages are private: only the owner of the deployment may read the file."""
        assert Path(store.db.name).stat().st_mode & 0o077 == 0


class TestPostgres(StoreContract):
    @pytest.fixture
    def place(self, postgres: Postgres) -> Postgres:
        return postgres

    async def fresh(self, place: Postgres) -> AsyncIterator[Store]:
        with place.database() as url:
            db = database_at(url)
            await db.open()
            yield Store(db)
            await db.close()

    async def test_take_back(self, store):
        """A start takes nothing away from other nodes; what waits is looked at once."""
        await store.submit(said("x", 1))
        await store.submit(said("y", 2, "c2"))
        [first, second] = await store.claim()
        job = await store.db.tx(store.node.take, first)
        await store.db.tx(store.node.wait, job, 5)
        await store.db.tx(store.other.take_back)
        [lease] = await store.claim(store.other)
        assert lease.conversation == first.conversation
        assert await store.db.tx(store.node.take, second) is not None

    async def test_two_nodes_share(self, store):
        """Many nodes claim beside each other: each conversation is taken by exactly one."""
        for number in range(40):
            await store.submit(said("x", number + 1, f"c{number}"))
        nodes = [Inbox(store.db, f"m{number}", ["memory"], 60, 1000) for number in range(8)]
        taken = []
        while found := await asyncio.gather(*(store.claim(node, 3) for node in nodes)):
            leases = [lease.conversation for some in found for lease in some]
            taken += leases
            if not leases:
                break
        assert sorted(taken) == sorted(set(taken))
        assert len(taken) == 40

    async def test_a_submit_beside_the_end(self, store):
        """A message that is stored just as the one before it is finished is never forgotten."""
        for number in range(20):
            await store.submit(said("first", 2 * number + 1, "c1"))
            [lease] = await store.claim()
            job = await store.db.tx(store.node.take, lease)
            _, (_, following) = await asyncio.gather(
                store.submit(said("second", 2 * number + 2, "c1"), store.other),
                store.db.tx(store.node.finish, job, "done", True),
            )
            if following is None:
                [lease] = await store.claim(store.other)
                job = await store.db.tx(store.other.take, lease)
                await store.db.tx(store.other.finish, job, "done", False)
            else:
                await store.db.tx(store.node.finish, following, "done", False)
            await store.pending_is_true()
        assert len(await store.db.tx(done)) == 40

    async def test_a_race_of_two_strangers_to_each_other(self, store):
        """Messages that make the same person and the same conversation at once all arrive."""
        await asyncio.gather(*(store.submit(said("x", n + 1)) for n in range(12)))
        assert await store.count(person) == 1
        assert await store.count(conversation) == 1
        assert await store.count(message) == 12
        await store.pending_is_true()

    async def test_partial_indexes_are_used(self, store):
        """A million finished messages must not slow the queries that run all the time."""
        await store.submit(said("x", 1))
        sql: list[tuple[str, object]] = []

        def watch(con, cursor, statement, parameters, context, many):
            sql.append((statement, parameters))

        pools = [pool.sync_engine for pool in store.db._pools.values()]
        for pool in pools:
            sa.event.listen(pool, "before_cursor_execute", watch)
        [lease] = await store.claim()
        await store.db.tx(store.node.take, lease)
        await store.db.tx(store.node.renew)
        await store.db.tx(store.node.asked_to_stop)
        for pool in pools:
            sa.event.remove(pool, "before_cursor_execute", watch)

        def plan(con: sa.Connection, statement: str, parameters: object) -> str:
            con.exec_driver_sql("SET LOCAL enable_seqscan = off")
            rows = con.exec_driver_sql(f"EXPLAIN {statement}", parameters).all()
            return "\n".join(row[0] for row in rows)

        plans = [
            await store.db.tx(plan, statement, parameters)
            for statement, parameters in sql
            if statement.startswith(("SELECT", "UPDATE", "WITH"))
        ]
        for index in ("conversation_ready", "conversation_leased", "message_open"):
            assert any(index in text for text in plans), plans
        # With sequential scans switched off, one is made only where no index can serve.
        assert not [text for text in plans if "Seq Scan" in text], plans

    @settings(
        max_examples=8,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(text=st.text(max_size=50))
    def test_any_text(self, place, text):
        """Whatever a person may write can be stored, also what PostgreSQL has no room for."""

        async def once() -> None:
            async for store in self.fresh(place):
                one, problem = problem_with(said(text, 1))
                _, job, _ = await store.db.tx(store.node.submit, one, problem, True)
                await store.db.tx(store.node.release, job.lease)
                [lease] = await store.claim(store.other)
                again = await store.db.tx(store.other.take, lease)
                assert again.said.text == one.text

        asyncio.run(once())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "is not a database URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("mysql://u:pw@h/d", "mysql is not supported"),
        ("postgresql+asyncpg://u:pw@h/d", "names another driver"),
        ("postgresql://u:pw@h", "names no database"),
        ("postgresql://u@h/d?password=pw", "put the password before the @"),
    ],
)
def test_bad_urls(url, told):
    """A URL that cannot work is refused by the name of its setting, without its password."""
    with pytest.raises(StoreUnusable, match=told) as caught:
        database_at(url)
    assert str(caught.value).startswith("BRIDGE_DATABASE_URL:")
    assert "pw" not in str(caught.value)
