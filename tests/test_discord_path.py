"""The whole path from Discord: the real CLI, bridge and discord.py, and Discord's double."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent_service.testing import ScriptedMessages
from tests.adapters.discord_double.double import Double
from tests.deployment import Deployment, command

SECONDS = 60.0


class House:
    """A deployment that Ann runs, and the Discord it is on."""

    def __init__(self, up: Deployment, discord: Double) -> None:
        self.up = up
        self.discord = discord
        self.world = discord.world
        self.direct = self.world.direct(self.world.ann["id"])

    async def ready(self) -> None:
        """Discord has a session of the bridge."""
        await self.up.until(lambda: self.discord.gateway.live and self.world.commands)

    async def claim(self) -> None:
        code, out, err = await command("claim", home=self.up.home)
        assert code == 0, err
        await self.discord.say(self.direct, out.strip())
        await self.sees(self.direct, "You run this Bascule now")

    def posts(self, channel: str) -> list[dict[str, Any]]:
        bot = self.world.bot["id"]
        return [m for m in self.world.messages[channel] if m["author"]["id"] == bot]

    async def sees(self, channel: str, text: str, *, buttons: bool = False) -> dict[str, Any]:
        """The bot's post with the text, once it is there (with its buttons)."""

        def found() -> list[dict[str, Any]]:
            return [m for m in self.posts(channel)
                    if text in m["content"] and (m["components"] or not buttons)]  # fmt: skip

        await self.up.until(found)
        return found()[-1]

    async def mention(self, text: str, who: dict[str, Any] | None = None) -> str:
        """Somebody mentions the bot in a channel; the id of the thread that it begins."""
        said = await self.discord.say(self.world.general, f"<@{self.world.bot['id']}> {text}", who)
        return str(said["id"])


@pytest_asyncio.fixture
async def house(place: Path) -> AsyncIterator[House]:
    async with Double() as discord, ScriptedMessages() as model:
        settings = {"BRIDGE_ADAPTERS": "console,discord", **discord.settings}
        up = Deployment(place, model, **settings)
        await up.start()
        made = House(up, discord)
        await made.ready()
        yield made
        await up.stop()
        await up.nothing_left()
        assert discord.world.token not in up.text()
        assert "Unclosed" not in up.text()
        assert "Traceback" not in up.text()


async def test_mention_approve_answer(house: House) -> None:
    """The first person claims the deployment; a mention opens a thread, a click lets the agent
    work, its answer comes there, and a follow-up needs no mention. A stranger opens nothing."""
    await house.claim()
    thread = await house.mention("write a file")
    card = await house.sees(thread, "May the agent do this?", buttons=True)
    assert house.world.channels[thread]["name"] == "write a file"
    refused = await house.discord.press(card, "Allow once", house.world.ben)
    assert refused is not None
    await house.discord.press(card, "Allow once")
    await house.up.until(lambda: not card["components"])
    assert "Allowed by Ann" in card["content"]
    await house.sees(thread, "File created successfully")
    await house.discord.say(thread, "say and then")
    await house.sees(thread, "and then")
    marks = house.world.marks[thread]
    await house.up.until(lambda: marks["✅"] and not marks["👀"])
    stranger = await house.mention("say hello", house.world.ben)
    await house.sees(house.world.direct(house.world.ben["id"]), "not let in yet")
    assert stranger not in house.world.channels


@pytest.mark.full
async def test_stop_restart_go_on(house: House) -> None:
    """A turn is stopped by its button; a card that waits holds over a restart and a kill -9;
    what was said while everything was down is answered."""
    await house.claim()
    await house.discord.say(house.direct, "say hello")
    await house.sees(house.direct, "hello")
    thread = await house.mention("slow 60 one two three four five six")
    working = await house.sees(thread, "one", buttons=True)
    stopped = await house.discord.press(working, "Stop")
    assert "Stopping the turn" in stopped.answered.result()["data"]["content"]
    await house.sees(thread, "Stopped.")
    await house.mention("slow 60 one two three four five six")
    asking = await house.mention("run rm -rf build then say it went on")
    card = await house.sees(asking, "May the agent run this?", buttons=True)
    assert await house.up.stop() == 0
    await house.up.nothing_left()
    missed = house.world.post(house.direct, house.world.ann, "say you were away")
    await house.up.start()
    await house.sees(house.direct, "you were away")
    await house.up.until(lambda: house.discord.gateway.live)
    bridge = house.up.program("bridge")
    assert bridge is not None
    os.kill(bridge.pid, signal.SIGKILL)
    await house.up.until(lambda: house.discord.gateway.identifies >= 3)
    await house.ready()
    await _pressed(house, card, "Allow once")
    await house.sees(asking, "it went on")
    assert "Allowed by Ann" in card["content"]
    texts = [m["content"] for m in house.posts(house.direct)]
    assert sum("you were away" in text for text in texts) == 1
    assert house.world.marks[missed["id"]]["✅"]


async def _pressed(house: House, card: dict[str, Any], label: str) -> None:
    """As people do: once more, where Discord says that nothing answered."""
    async with asyncio.timeout(SECONDS):
        while await house.discord.press(card, label) is None:
            await asyncio.sleep(0.2)


@pytest.mark.full
async def test_questions_files_and_commands(house: House) -> None:
    """A question is answered by a button or in a form; a file goes in and comes out; commands are
    answered to who gave them, with suggestions."""
    await house.claim()
    await house.discord.say(house.direct, "ask Tea or coffee? | Tea | Coffee")
    card = await house.sees(house.direct, "Tea or coffee?", buttons=True)
    await house.discord.press(card, "Tea")
    await house.sees(house.direct, "You chose: Tea")
    await house.discord.say(house.direct, "askmany Which days? | Monday | Tuesday")
    card = await house.sees(house.direct, "Which days?", buttons=True)
    asked = await house.discord.press(card, "Answer")
    await house.discord.fill(asked, card, {"Which days?": ["Monday", "Tuesday"]})
    await house.sees(house.direct, "Monday, Tuesday")
    await house.discord.attach(house.direct, "run cat inbox/in.txt", "in.txt", b"carried in")
    await house.sees(house.direct, "carried in")
    await house.discord.say(house.direct, "send inbox/in.txt")
    await house.up.until(
        lambda: any(a["filename"] == "in.txt" for m in house.posts(house.direct)
                    for a in m["attachments"])
    )  # fmt: skip
    found = await house.discord.complete(house.direct, "mode", "pla")
    assert [choice["value"] for choice in found] == ["plan"]
    done = await house.discord.command(house.direct, "whoami")
    assert "You are Ann, operator" in done.answered.result()["data"]["content"]
