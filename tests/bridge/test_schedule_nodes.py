"""Schedules on bridges that are killed, alone and as two on one database: each run once."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bridge.people.access import mint
from bridge.store.schema import conversation, identity, schedule
from tests.bridge.house import until
from tests.bridge.town import Town

POSTGRES_TOO = "full"


@pytest.fixture
async def town(home: Path, database: str) -> AsyncIterator[Town]:
    """An agent service; bridges are the test's."""
    made = Town(home, database)
    try:
        await made.start_agent()
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def shared(home: Path, postgres_url: str) -> AsyncIterator[Town]:
    """The same, for bridges on one PostgreSQL."""
    made = Town(home, postgres_url)
    try:
        await made.start_agent()
        yield made
    finally:
        await made.stop()


def plant(town: Town, channels: list[str], each: int, due: float) -> list[str]:
    """Schedules that were confirmed long ago, and are due then and a year later; their texts."""
    url = town.database.replace("postgresql:", "postgresql+psycopg:")
    engine = sa.create_engine(url or f"sqlite:///{town.home / 'bridge' / 'bridge.db'}")
    texts, c = [], conversation.c
    with engine.begin() as con:
        account = con.execute(sa.select(identity)).one()
        query = sa.select(c.channel, c.id).where(c.channel.in_(channels))
        homes = {row.channel: row.id for row in con.execute(query)}
        for number in range(len(channels) * each):
            channel = channels[number % len(channels)]
            texts.append(f"say {channel} run {number}")
            con.execute(
                schedule.insert().values(
                    id=mint("s"),
                    person=account.person,
                    number=number + 1,
                    platform="memory",
                    tenant=account.tenant,
                    user=account.user,
                    conversation=homes[channel],
                    expression="0 0 29 2 *",
                    zone="UTC",
                    text=texts[-1],
                    state="active",
                    made_at=due - 1000,
                    next_at=due,
                )
            )
    engine.dispose()
    return texts


def shown(town: Town, channels: list[str]) -> Counter[str]:
    """Every post there, by its text."""
    return Counter(text for channel in channels for text in town.posts.texts(channel))


async def each_once(town: Town, channels: list[str], texts: list[str]) -> None:
    """Each run has one post that names it, one turn and one answer."""
    answers = [text.removeprefix("say ") for text in texts]
    await until(lambda: set(answers) <= set(shown(town, channels)), 60)
    await until(lambda: all(p["final"] for c in channels for p in town.posts.of(c)), 60)
    found = shown(town, channels)
    assert all(found[answer] == 1 for answer in answers), found
    named = [text for text in found.elements() if text.startswith("Schedule ")]
    assert sorted(named) == sorted(set(named))
    assert len(named) == len(texts)
    prompts = Counter(prompt for _, prompt in town.turns())
    assert all(prompts[text] == 1 for text in texts), prompts


async def opened(town: Town, channels: list[str], node: str = "") -> None:
    for channel in channels:
        await town.say(channel, f"say {channel} opened", 1, node)
        await until(lambda channel=channel: any(p["final"] for p in town.posts.of(channel)), 60)


async def test_killed_when_they_are_due(town: Town) -> None:
    """A bridge that is killed while it stores and runs what is due does the rest after its start:
    nothing twice, nothing lost."""
    channels = [f"c{n}" for n in range(4)]
    await town.start_bridge()
    await opened(town, channels)
    await town.kill_bridge()
    texts = plant(town, channels, 4, time.time() + 1)
    await town.start_bridge()
    for goal in (2, 10):
        await until(lambda goal=goal: len(shown(town, channels)) >= 4 + goal, 60)
        await town.kill_bridge()
        await town.start_bridge()
    await each_once(town, channels, texts)


@pytest.mark.full
async def test_killed_between_storing_and_running(town: Town) -> None:
    """What was stored, and could not be asked since the agent service was away, is asked once after
    the bridge was killed and both are back."""
    await town.start_bridge()
    await opened(town, ["c1"])
    assert await town.kill_bridge(signal.SIGTERM) == 0  # after it is through with what it did
    await town.kill_agent()
    texts = plant(town, ["c1"], 1, time.time())
    await town.start_bridge()
    await town.posts.shows("c1", "Schedule 1 of Olga")
    await town.kill_bridge()
    await town.start_agent()
    await town.start_bridge()
    await each_once(town, ["c1"], texts)


async def test_two_nodes(shared: Town) -> None:
    """Two bridges that find the same ones due, of which one is killed in the middle, run each
    once."""
    town, channels = shared, [f"c{n}" for n in range(6)]
    await town.start_node("a")
    await opened(town, channels, "a")
    town.nodes["a"].terminate()
    await town.nodes["a"].wait()
    texts = plant(town, channels, 5, time.time() + 4)
    await asyncio.gather(town.start_node("a"), town.start_node("b"))
    await until(lambda: len(shown(town, channels)) >= 6 + 4, 60)
    town.nodes["a"].kill()
    await town.nodes["a"].wait()
    await each_once(town, channels, texts)
