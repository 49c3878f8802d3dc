"""Killed in the middle, again and again: nothing lost, nothing doubled, order kept."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_service.testing import ScriptedMessages
from tests.bridge.house import until
from tests.bridge.storms import real_storm, storm
from tests.bridge.town import Town

POSTGRES_TOO = "full"


@pytest.fixture
async def town(home: Path, database: str) -> AsyncIterator[Town]:
    """An agent service and a bridge, each a process of its own."""
    made = Town(home, database)
    try:
        await made.start_agent()
        await made.start_bridge()
        yield made
    finally:
        await made.stop()


async def bridge_storm(town: Town, messages: int, conversations: int, kills: int) -> None:
    """People write while the bridge is killed; then everything is compared with what was said."""
    each = messages // conversations
    said = {
        f"c{c}": [f"say answer {n} in c{c} of the storm" for n in range(each)]
        for c in range(conversations)
    }

    async def talk(channel: str) -> None:
        for order, text in enumerate(said[channel], 1):
            await town.say(channel, text, order)

    talks = [asyncio.create_task(talk(channel)) for channel in said]
    for kill in range(kills):
        goal = messages * (kill + 1) // (kills + 2)
        await until(lambda goal=goal: town.posts.finals() >= goal, 60)
        await town.kill_bridge()
        await town.start_bridge()
    await asyncio.gather(*talks)
    await until(lambda: town.posts.finals() >= messages, 90)
    assert await town.kill_bridge(signal.SIGTERM) == 0

    for channel, texts in said.items():
        answers = [text.removeprefix("say ") for text in texts]
        assert town.posts.texts(channel) == answers  # each once, in order, and nothing else
        assert all(post["final"] for post in town.posts.of(channel))
    turns = town.turns()
    assert len(turns) == messages
    asked: dict[str, list[str]] = {}
    for conversation, prompt in turns:
        asked.setdefault(conversation, []).append(prompt)
    assert sorted(asked.values()) == sorted(said.values())


async def test_kill_storm(town):
    """60 messages in 12 conversations through 3 SIGKILLs."""
    await bridge_storm(town, 60, 12, 3)


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_full_kill_storm(town):
    """1,000 messages in 200 conversations through 6 SIGKILLs of bridge and agent service."""
    await storm(town, ("",), 1000, 200, 6, 7)


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_storm_with_the_real_cli(home: Path) -> None:
    """60 messages with the real CLI on SQLite, the bridge killed twice."""
    town = Town(home)
    async with ScriptedMessages() as model:
        try:
            await town.start_real_agent(model.url)
            await town.start_bridge()
            await real_storm(town, ("",))
        finally:
            await town.stop()


async def test_acknowledged_is_never_lost(town):
    """What the platform was told to be stored is answered, though the bridge died that moment."""
    for number in range(3):
        assert await town.say("c1", f"say answer {number}", number + 1) == "stored"
        await town.kill_bridge()
        await town.start_bridge()
        await town.posts.shows("c1", f"answer {number}")
    await until(lambda: town.posts.finals() == 3)
    assert town.posts.texts("c1") == ["answer 0", "answer 1", "answer 2"]


async def test_killed_in_the_middle_of_an_answer(town):
    """An answer that streams goes on in its own post after a SIGKILL."""
    await town.say("c1", "slow 4 one two three four five six seven eight nine ten", 1)
    await town.posts.shows("c1", "one")
    await town.kill_bridge()
    await town.start_bridge()
    await town.posts.shows("c1", "ten")
    await until(lambda: town.posts.finals() == 1)
    assert town.posts.texts("c1") == ["one two three four five six seven eight nine ten"]


async def test_stopped_in_the_middle_of_an_answer(town):
    """SIGTERM ends the bridge within 5 s whatever runs, and the turn goes on after the restart."""
    await town.say("c1", "slow 8 one two three four five six seven eight nine ten", 1)
    await town.say("c2", "say working then hang", 1)
    await town.posts.shows("c1", "one")
    await town.posts.shows("c2", "working")
    before = time.monotonic()
    assert await town.kill_bridge(signal.SIGTERM) == 0
    assert time.monotonic() - before < 5  # what the supervisor waits before it kills
    await town.start_bridge()
    await town.posts.shows("c1", "ten")
    assert await town.command("c2", "stop") == "stored"
    await town.posts.shows("c2", "Stopped.")
    assert town.posts.texts("c1") == ["one two three four five six seven eight nine ten"]
    assert town.posts.texts("c2") == ["working", "Stopped."]


async def test_agent_service_killed(town):
    """A turn whose agent service died is told as interrupted, with Retry; it is not run again by
    itself, and the next message works."""
    await town.say("c1", "say working then hang", 1)
    await town.posts.shows("c1", "working")
    await town.kill_agent()
    await town.say("c1", "say next", 2)
    await town.start_agent()
    end = await town.posts.shows("c1", "stopped while this ran")
    assert end["choices"] == ["retry:1"]
    await town.posts.shows("c1", "next")
    assert [prompt for _, prompt in town.turns()] == ["say working then hang", "say next"]
    await until(lambda: all(post["final"] for post in town.posts.of("c1")))


async def test_files_through_kills(town: Town) -> None:
    """Killed while files come, and between them and the turn: each is there once and whole, the
    message is asked once, and its answer stands once."""
    there = town.home / "there"
    there.mkdir()
    data = {f"f{n}.bin": bytes([n]) * 4321 for n in range(3)}
    for name, content in data.items():
        (there / name).write_bytes(content)
    line = {"channel": "c", "key": "k", "text": "say read", "order": 1, "files": list(data)}
    for pause in (0.2, 0.7, 1.1, 1.45, 1.6, 0.0):
        await town.deliver_once(line)
        await asyncio.sleep(pause)  # where it is by then decides nothing
        await town.kill_bridge()
        await town.start_bridge()
    assert (await town.posts.shows("c", "read"))["text"] == "read"
    await until(lambda: town.posts.finals() >= 1, 60)
    assert town.posts.texts("c") == ["read"]
    assert [prompt for _, prompt in town.turns()] == ["say read"]
    [work] = (town.home / "workspaces").glob("w_*/work")
    assert {p.name: p.read_bytes() for p in (work / "inbox").iterdir()} == data
    assert list((town.home / "bridge" / "spool").iterdir()) == []
