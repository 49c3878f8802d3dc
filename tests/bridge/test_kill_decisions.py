"""The bridge, the agent service and both are killed around a click, with the real CLI: the command
runs at most once an answer, and whoever waits is told what is known."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_service.testing import ScriptedMessages
from tests.bridge.house import until
from tests.bridge.town import Town

MOST_SECONDS = 1.6
"""From the click to the kill: past the end of the command, which takes about one."""


@pytest.fixture
async def model() -> AsyncIterator[ScriptedMessages]:
    async with ScriptedMessages() as made:
        yield made


@pytest.fixture
async def town(home: Path, model: ScriptedMessages) -> AsyncIterator[Town]:
    made = Town(home)
    try:
        await made.start_real_agent(model.url)
        await made.start_bridge()
        yield made
    finally:
        await made.stop()


def written(town: Town, channel: str) -> list[str]:
    found = list((town.home / "workspaces").glob(f"*/work/{channel}.txt"))
    return found[0].read_text().split() if found else []


async def card(town: Town, channel: str) -> str:
    """The decision whose buttons are there, once they are."""
    await until(lambda: any(":allow" in c for c in town.posts.choices(channel)), 60)
    return next(c for c in town.posts.choices(channel) if ":allow" in c).split(":")[1]


async def killed(town: Town, model: ScriptedMessages, who: str) -> None:
    """The bridge, the agent service or both die, and start again."""
    if who in ("bridge", "both"):
        await town.kill_bridge()
    if who in ("agent", "both"):
        await town.kill_agent()
        await town.start_real_agent(model.url)
    if who in ("bridge", "both"):
        await town.start_bridge()


async def kill_around(
    town: Town, model: ScriptedMessages, channel: str, who: str, verb: str, seconds: float
) -> str:
    """Ask, click, kill so long after the click, start again; gives what became of it. Of less than
    no time it is before the click, which meets what was started again."""
    command = f"bash echo begin >> {channel}.txt; sleep 0.4; echo end >> {channel}.txt"
    await town.say(channel, f"{command}\nsay all done", 1)
    decision = await card(town, channel)
    if seconds < 0:
        await killed(town, model, who)
        assert len([c for c in town.posts.choices(channel) if c.endswith(f"{decision}:allow")]) == 1
    click = asyncio.create_task(town.click(channel, f"d:{decision}:{verb}", 1))
    if seconds >= 0:
        await asyncio.sleep(seconds)
        await killed(town, model, who)
    await click

    def over() -> str:
        texts = " ".join(town.posts.texts(channel))
        again = any(":allow" in c and decision not in c for c in town.posts.choices(channel))
        if again:
            return "asked again"
        for sign, what in (("all done", "done"), ("in the middle", "interrupted"),
                           ("being run now", "lost"), ("did not let me", "denied")):  # fmt: skip
            if sign in texts:
                return what
        return ""

    await until(over, 60)
    what = over()
    before = written(town, channel)
    if what == "asked again":
        again = await card(town, channel)
        await town.click(channel, f"d:{again}:deny", 2)
        await until(lambda: not any(":deny" in c for c in town.posts.choices(channel)), 60)
        assert written(town, channel) == before  # nothing runs a second time by itself
    if what in ("interrupted", "lost"):
        await until(lambda: any("retry:" in c for c in town.posts.choices(channel)))
    assert before.count("begin") <= 1
    if verb == "deny":
        assert before == []
    elif who == "bridge" or seconds < 0:
        assert before == ["begin", "end"]  # nothing disturbed the agent
    elif what == "lost":
        assert before == []
    return what


async def storm(town: Town, model: ScriptedMessages, points: int, seed: int) -> set[str]:
    rng = random.Random(seed)
    seen = set()
    for number in range(points):
        who = ("bridge", "agent", "both")[number % 3]
        verb = "deny" if number % 5 == 4 else "allow"
        seconds = -1 if number % 7 == 6 else rng.uniform(0, MOST_SECONDS)
        seen.add(await kill_around(town, model, f"d{number}", who, verb, seconds))
    return seen


async def test_a_few_kills_around_a_click(town: Town, model: ScriptedMessages) -> None:
    """Each of the three is killed once around a click, and both once before it."""
    assert await storm(town, model, 3, 5)
    assert await kill_around(town, model, "before", "both", "allow", -1) == "done"


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_fifty_kills_around_a_click(town: Town, model: ScriptedMessages) -> None:
    """50 random points; among them such where it was done and such where it had to be asked."""
    assert {"done", "asked again"} <= await storm(town, model, 50, 11)
