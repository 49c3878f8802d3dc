"""Access that ends on one node while another is in the middle of something, on PostgreSQL.

One transaction is made by hand and left open; the other runs as in a bridge, until it is over or
waits for the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from adapters.contract import Address, CommandIn, Identity, MessageIn, Sender
from bridge.budgets.budgets import Budgets, Rules
from bridge.conversations import commands, sharing
from bridge.engine.inbox import Inbox
from bridge.engine.pending import stop_message
from bridge.people import access, claim, codes, rules
from bridge.schedules.limits import Limits
from bridge.schedules.timetable import Timetable
from bridge.store.database import Database
from bridge.store.dialects import database_at
from bridge.store.schema import claim as claims
from bridge.store.schema import conversation, link, message, person
from tests.bridge.house import until

OLGA = Sender(Identity("memory", "t", "owner"), "Olga", host_owner=True)
ADA = Sender(Identity("memory", "t", "ada"), "Ada")
BEN = Sender(Identity("memory", "t", "ben"), "Ben")
ROOM = Address("memory", "t", "room", "t1")
WAITING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Two:
    """Two nodes on one database: one by hand, one as it runs."""

    def __init__(self, db: Database, engine: sa.Engine) -> None:
        self.db = db
        self.engine = engine
        self.inbox = Inbox(db, "n1", ["memory"], 60)
        self.numbers = iter(range(1, 1000))

    def said(self, sender: Sender, at: Address | None = None, text: str = "hang") -> MessageIn:
        number = next(self.numbers)
        here = at or Address("memory", "t", f"dm-{sender.identity.user}", direct=True)
        return MessageIn((f"k{number}",), here, sender, text, number, datetime.now(UTC))

    def command(
        self, con: sa.Connection, sender: Sender, line: str, at: Address | None = None
    ) -> commands.Reply:
        name, _, rest = line.partition(" ")
        here = at or Address("memory", "t", f"dm-{sender.identity.user}", direct=True)
        said = CommandIn((f"c{next(self.numbers)}",), here, sender, name, rest)
        table = Timetable(self.db, ["memory"], Limits())
        return commands.run(con, self.db, said, stop_message, table, Budgets(self.db, Rules()))

    async def person(self, sender: Sender, role: Any = "member", admitted: Any = "person") -> str:
        made = await self.db.tx(access.add, self.db, sender.identity, sender.name, role, admitted)
        return made.id

    def waits(self) -> bool:
        with self.engine.connect() as con:
            return bool(con.scalar(sa.text(WAITING)))

    async def beside(self, first: Callable[[sa.Connection], Any], second, *args) -> tuple:
        """What `first` gives and what `second` gives, which begins while `first` is not stored."""
        with self.engine.connect() as con:
            made = first(con)
            task = asyncio.create_task(self.db.tx(second, *args))
            await asyncio.sleep(0)
            await until(lambda: task.done() or self.waits())
            con.commit()
        return made, await task

    async def row(self, number: int) -> Any:
        its = (
            sa.select(message.c.status, message.c.stop_asked, conversation.c.pending)
            .join(conversation, conversation.c.id == message.c.conversation)
            .where(message.c.id == number)
        )
        return await self.db.tx(lambda con: con.execute(its).one())

    async def operators(self) -> list[str]:
        query = sa.select(person.c.name).where(person.c.role == "operator").order_by(person.c.name)
        return await self.db.tx(lambda con: list(con.scalars(query).all()))


@pytest.fixture
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    yield made
    made.dispose()


@pytest.fixture
async def two(postgres_url: str, engine: sa.Engine) -> AsyncIterator[Two]:
    db = database_at(postgres_url)
    await db.open()
    yield Two(db, engine)
    await db.close()


# ---- a removal beside a message ----


async def test_a_message_that_is_stored_while_its_sender_is_removed(two):
    """The removal waits for it, then stops its turn."""
    ada = await two.person(ADA)
    (_, job, _), reply = await two.beside(
        lambda con: two.inbox.submit(con, two.said(ADA), "", True),
        two.command, OLGA, f"people remove {ada}",
    )  # fmt: skip
    assert job.request
    assert reply.stopped == (job.message,)
    assert (await two.row(job.message)).stop_asked


async def test_a_message_that_comes_while_its_sender_is_removed(two):
    """It waits for the removal, then begins no turn."""
    ada = await two.person(ADA)
    _, (_, job, _) = await two.beside(
        lambda con: two.command(con, OLGA, f"people remove {ada}"),
        two.inbox.submit, two.said(ADA), "", True,
    )  # fmt: skip
    assert job.request == {}
    assert "not let in here any more" in job.problem


async def test_a_queued_message_that_is_taken_while_its_sender_is_removed(two):
    """Its turn is stopped, and it is counted as what is going on until it is over."""
    ada = await two.person(ADA)
    await two.db.tx(two.inbox.submit, two.said(ADA), "", False)
    [lease], _ = await two.db.tx(two.inbox.pick, 5)
    job, reply = await two.beside(
        lambda con: two.inbox.take(con, lease), two.command, OLGA, f"people remove {ada}"
    )
    assert reply.stopped == (job.message,)
    assert tuple(await two.row(job.message)) == ("running", True, 1)


async def test_a_message_that_is_over_while_its_sender_is_removed(two):
    """It is counted down once, and nothing is stopped."""
    ada = await two.person(ADA)
    _, job, _ = await two.db.tx(two.inbox.submit, two.said(ADA), "", True)
    _, reply = await two.beside(
        lambda con: two.inbox.finish(con, job, "done", False),
        two.command, OLGA, f"people remove {ada}",
    )  # fmt: skip
    assert reply.stopped == reply.taken_back == ()
    assert tuple(await two.row(job.message)) == ("done", False, 0)


async def test_a_member_who_writes_while_they_are_taken_out(two):
    """What they asked in a thread of the channel is stopped."""
    ada = await two.person(ADA)
    await two.db.tx(two.command, OLGA, "bind", ROOM)
    await two.db.tx(two.command, OLGA, f"members add {ada}", ROOM)
    thread = Address("memory", "t", "room", "t2")
    (_, job, _), reply = await two.beside(
        lambda con: two.inbox.submit(con, two.said(ADA, thread), "", True),
        two.command, OLGA, f"members remove {ada}", ROOM,
    )  # fmt: skip
    assert job.request
    assert reply.stopped == (job.message,)


async def test_a_thread_of_a_channel_that_is_unbound(two):
    """What was begun there meanwhile is stopped."""
    await two.db.tx(two.command, OLGA, "bind", ROOM)
    thread = Address("memory", "t", "room", "t2")
    (_, job, _), reply = await two.beside(
        lambda con: two.inbox.submit(con, two.said(OLGA, thread), "", True),
        two.command, OLGA, "unbind", ROOM,
    )  # fmt: skip
    assert job.request
    assert reply.stopped == (job.message,)


async def test_a_message_beside_the_end_of_its_rule(two):
    """Who writes while the rule that lets them in is taken back is stopped."""
    await two.db.tx(two.command, OLGA, "access add team")
    [rule] = await two.db.tx(rules.all_of)
    (_, job, _), reply = await two.beside(
        lambda con: two.inbox.submit(con, two.said(ADA), "", True),
        two.command, OLGA, f"access remove {rule.number}",
    )  # fmt: skip
    assert job.request
    assert reply.stopped == (job.message,)


async def test_removals_of_each_other(two):
    """Two admins who remove each other's people in the places of each other both get through."""
    ids = [await two.person(ADA), await two.person(BEN)]
    for sender in (ADA, BEN):
        await two.db.tx(two.inbox.submit, two.said(sender), "", False)
    places = [two.said(sender).address for sender in (ADA, BEN)]
    replies = await asyncio.gather(
        two.db.tx(two.command, OLGA, f"people block {ids[0]}", places[1]),
        two.db.tx(two.command, OLGA, f"people block {ids[1]}", places[0]),
    )
    assert sorted(len(reply.taken_back) for reply in replies) == [1, 1]


# ---- those in charge ----


async def test_the_claim_code_works_once(two):
    """Of two who have it, or each another node's, at once, one is the operator."""
    made = [codes.mint(3), codes.mint(3)]
    for same in (True, False):
        await two.db.tx(lambda con: con.execute(person.update().values(role="member")).rowcount)
        for code in made:
            row = claims.insert().values(code=codes.kept(code), expires_at=two.db.now + 60)
            await two.db.tx(lambda con, row=row: con.execute(row).rowcount)
        first, second = await two.beside(
            lambda con: claim.take(con, two.db, ADA, made[0]),
            claim.take, two.db, BEN, made[0 if same else 1],
        )  # fmt: skip
        assert "You run this" in first
        assert "You run this" not in second
        assert await two.operators() == ["Ada"]


async def test_two_operators_who_demote_each_other(two):
    """One of them is left."""
    ada, ben = await two.person(ADA, "operator"), await two.person(BEN, "operator")
    await two.beside(
        lambda con: two.command(con, ADA, f"people role {ben} member"),
        two.command, BEN, f"people role {ada} member",
    )  # fmt: skip
    assert await two.operators() == ["Ada"]
    await two.db.tx(lambda con: con.execute(person.update().values(role="operator")).rowcount)
    await asyncio.gather(
        two.db.tx(two.command, ADA, f"people role {ben} member"),
        two.db.tx(two.command, BEN, f"people role {ada} member"),
    )
    assert len(await two.operators()) == 1


async def test_two_accounts_with_one_code_for_linking(two):
    """Whoever agreed first is the one that is shown, and stays it."""
    await two.person(OLGA, "operator")
    told = (await two.db.tx(two.command, OLGA, "link")).text
    code = told.partition("`link ")[2].partition("`")[0]
    first, second = await two.beside(
        lambda con: two.command(con, ADA, f"link {code} yes"),
        two.command, BEN, f"link {code} yes",
    )  # fmt: skip
    assert "Agreed" in first.text
    assert "Another account" in second.text
    assert await two.db.tx(lambda con: con.scalar(sa.select(link.c.user))) == "ada"


async def thread_of(two: Two, owner: str, guest: str) -> None:
    """A thread in the room that Ada started, with a guest; nothing is going on in it."""
    _, job, _ = await two.db.tx(two.inbox.submit, two.said(ADA, ROOM), "", True)
    await two.db.tx(two.inbox.finish, job, "done", False)
    await two.db.tx(sharing.invite, two.db, job.lease.conversation, guest, owner)


async def test_a_guests_turn_when_the_share_ends(two):
    """It is stopped."""
    ada, ben = await two.person(ADA), await two.person(BEN)
    await thread_of(two, ada, ben)
    _, job, _ = await two.db.tx(two.inbox.submit, two.said(BEN, ROOM), "", True)
    assert job.request
    reply = await two.db.tx(two.command, ADA, f"unshare {ben}", ROOM)
    assert reply.stopped == (job.message,)


async def test_a_guest_of_somebody_who_is_removed(two):
    """A guest who writes once the owner is removed is refused, and works in nobody's files."""
    ada, ben = await two.person(ADA), await two.person(BEN)
    await thread_of(two, ada, ben)
    _, (_, job, _) = await two.beside(
        lambda con: two.command(con, OLGA, f"people block {ada}"),
        two.inbox.submit, two.said(BEN, ROOM), "", True,
    )  # fmt: skip
    assert job.request == {}
    assert "belongs to somebody else" in job.problem
