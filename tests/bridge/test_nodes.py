"""Two bridges and more on one PostgreSQL: killed, frozen, stopped; and the database itself gone."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent_service.testing import ScriptedMessages
from bridge.store.schema import conversation
from tests.bridge.house import until
from tests.bridge.postgres import Postgres, running_postgres
from tests.bridge.storms import real_storm, storm
from tests.bridge.town import Town, ends_well

WORDS = "one two three four five six seven eight nine ten"
TAKEOVER_SECONDS = 15.0


@pytest.fixture
async def town(home: Path, postgres_url: str) -> AsyncIterator[Town]:
    """An agent service and two bridges, a and b."""
    made = Town(home, postgres_url)
    try:
        await made.start_agent()
        await made.start_node("a")
        await made.start_node("b")
        yield made
    finally:
        await made.stop()


def held(town: Town) -> set[str]:
    """The channels that some node holds."""
    engine = sa.create_engine(town.database.replace("postgresql:", "postgresql+psycopg:"))
    c = conversation.c
    with engine.connect() as connection:
        found = set(connection.scalars(sa.select(c.channel).where(c.lease_owner.is_not(None))))
    engine.dispose()
    return found


async def test_a_message_for_whoever_holds_the_conversation(town: Town) -> None:
    """What is said at one node in a conversation that another holds is answered in order."""
    await town.say("c1", f"slow 2 {WORDS}", 1, "a")
    await town.posts.shows("c1", "one")
    await town.say("c1", "say second", 2, "b")
    await town.say("c1", "say third", 3, "a")
    await ends_well(town, "c1", [WORDS, "second", "third"])


async def test_a_redelivery_at_another_node(town: Town) -> None:
    """Delivered three times, at two nodes, it is answered once."""
    line = {"key": "k", "channel": "c1", "text": "say once", "order": 1}
    answers = await asyncio.gather(
        *(town.deliver_once(line, node) for node in ("a", "b", "a", "b"))
    )
    assert sorted(answers) == ["duplicate"] * 3 + ["stored"]
    await ends_well(town, "c1", ["once"])
    assert len(town.turns()) == 1


async def test_a_stop_at_another_node(town: Town) -> None:
    """A stop that is said at one node ends the turn at the other."""
    await town.say("c1", "say working then hang", 1, "a")
    await town.posts.shows("c1", "working")
    assert await town.command("c1", "stop", "b") == "stored"
    await ends_well(town, "c1", ["working", "Stopped."])


async def test_a_decision_at_another_node(town: Town) -> None:
    """A turn that waits is held by nobody; a click at any node has it go on."""
    await town.say("c1", "run rm -r build then say It went on.", 1, "a")
    await until(lambda: any(":allow" in choice for choice in town.posts.choices("c1")), 60)
    await until(lambda: held(town) == set())
    choice = next(one for one in town.posts.choices("c1") if one.endswith(":allow"))
    line = {"key": "click", "channel": "c1", "action": choice}
    assert await town.deliver_once(line, "b") == "stored"
    await town.posts.shows("c1", "It went on.")


async def test_one_is_killed(town: Town) -> None:
    """Its conversations are taken over within 15 s, and go on in the posts they had."""
    await town.say("c1", f"slow 3 {WORDS}", 1, "a")
    await town.say("c1", "say next", 2, "a")
    await town.posts.shows("c1", "one")
    town.nodes["a"].kill()
    await town.nodes["a"].wait()
    killed = time.monotonic()
    await until(lambda: "next" in town.posts.texts("c1"), 60)
    assert time.monotonic() - killed < TAKEOVER_SECONDS + 10  # and a turn of 3 s
    await ends_well(town, "c1", [WORDS, "next"])
    assert len(town.turns()) == 2


async def test_one_is_frozen_and_comes_back(town: Town) -> None:
    """What it held is taken over, and once it wakes up it changes nothing of what was done."""
    for number in range(3):
        await town.say(f"c{number}", f"slow 4 {WORDS}", 1, "a")
        await town.say(f"c{number}", "say next", 2, "a")
    for number in range(3):
        await town.posts.shows(f"c{number}", "one")
    town.nodes["a"].send_signal(signal.SIGSTOP)
    for number in range(3):
        await town.say(f"c{number}", "say last", 3, "b")
        await ends_well(town, f"c{number}", [WORDS, "next", "last"])
    before = town.posts.path.read_bytes()
    town.nodes["a"].send_signal(signal.SIGCONT)
    await town.say("d1", "say awake", 1, "a")
    await ends_well(town, "d1", ["awake"])
    await until(lambda: "lease lost" in town.log.read_text())
    written = town.posts.path.read_bytes()[len(before) :].decode().splitlines()
    assert all('"channel": "d1"' in line for line in written), written
    assert len(town.turns()) == 10


@pytest.mark.full
async def test_one_is_stopped(town: Town) -> None:
    """SIGTERM hands over at once: the other goes on long before a lease would have run out."""
    await town.say("c1", f"slow 6 {WORDS}", 1, "a")
    await town.posts.shows("c1", "one")
    town.nodes["a"].send_signal(signal.SIGTERM)
    assert await town.nodes["a"].wait() == 0
    await until(lambda: held(town) == {"c1"}, 8)  # the other's; the lease of 10 s still ran
    await ends_well(town, "c1", [WORDS])
    assert len(town.turns()) == 1


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server that a test may stop."""
    with running_postgres() as made:
        yield made


@pytest.mark.full
async def test_the_database_goes_and_comes_back(home: Path, server: Postgres) -> None:
    """While the database is gone nothing is acknowledged; afterwards all goes on by itself, and
    nothing is said twice."""
    with server.database() as url:
        town = Town(home, url)
        try:
            await town.start_agent()
            await town.start_node("a")
            await town.say("c1", f"slow 3 {WORDS}", 1, "a")
            await town.posts.shows("c1", "one")
            await asyncio.to_thread(server.stop)
            line = {"key": "k", "channel": "c2", "text": "say kept", "order": 1}
            answer = await town.deliver_once(line, "a")
            assert answer.startswith("not stored: The PostgreSQL database"), answer
            await asyncio.to_thread(server.start)
            await town.say("c2", "say kept", 1, "a")
            await ends_well(town, "c2", ["kept"])
            await ends_well(town, "c1", [WORDS])
            assert len(town.turns()) == 2
        finally:
            await town.stop()


@pytest.mark.full
async def test_kill_storm_on_two_nodes(town: Town) -> None:
    """60 messages in 12 conversations through 3 SIGKILLs of nodes and agent service."""
    await storm(town, ("a", "b"), 60, 12, 3, 4)


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_full_kill_storm_on_two_nodes(town: Town) -> None:
    """1,000 messages in 200 conversations through 6 SIGKILLs of nodes and agent service."""
    await storm(town, ("a", "b"), 1000, 200, 6, 5)


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_storm_with_the_real_cli(home: Path, postgres_url: str) -> None:
    """60 messages with the real CLI on two nodes, one of which is killed twice."""
    town = Town(home, postgres_url)
    async with ScriptedMessages() as model:
        try:
            await town.start_real_agent(model.url)
            await town.start_node("a")
            await town.start_node("b")
            await real_storm(town, ("a", "b"))
        finally:
            await town.stop()
