"""What was said while nobody listened, and what was said before."""

from __future__ import annotations

import asyncio

import pytest

from adapters.contract import Earlier, NotAllowed
from adapters.discord import places
from tests.adapters.discord_double.double import Double

SECONDS = 20.0


async def until(check) -> None:
    async with asyncio.timeout(SECONDS):
        while not check():
            await asyncio.sleep(0.01)


def at_bot(double: Double, text: str) -> str:
    return f"<@{double.world.bot['id']}> {text}"


async def test_what_was_missed_is_read_back_once(double, harness, host):
    """After a start, messages of known conversations and mentions that nobody heard are handed
    over in their order, and nothing twice; what came meanwhile comes after them."""
    await harness.start(host)
    world = double.world
    direct = world.direct(world.ann["id"])
    await double.say(harness.channel, at_bot(double, "before"))
    await double.say(direct, "before, directly")
    await until(lambda: len(host.messages) == 2)
    await harness.stop()
    for n in range(3):
        world.post(harness.channel, world.ann, f"missed {n}")
    world.post(direct, world.ann, "missed, directly")
    mention = world.post(world.general, world.ben, at_bot(double, "missed mention"))
    world.post(world.general, world.ben, "not for the bot")
    await harness.start(host)
    await double.say(harness.channel, "now")
    await until(lambda: len(host.messages) == 8)
    mine = [m.text for m in host.messages if m.address == harness.place]
    assert mine == ["before", "missed 0", "missed 1", "missed 2", "now"]
    assert "missed, directly" in [m.text for m in host.messages]
    found = next(m for m in host.messages if m.text == "missed mention")
    assert found.address.thread == mention["id"]
    assert found.sender.groups == (world.guild_id,)
    await harness.stop()
    await harness.start(host)
    await double.say(harness.channel, "end")
    await until(lambda: host.messages[-1].text == "end")
    assert len(host.messages) == 9


async def test_reading_back_asks_for_little(double, harness, host):
    """Of a thread in which nothing was said since, or that was put away, nothing is asked."""
    await harness.start(host)
    world = double.world
    asleep = world.thread("asleep", world.general)["id"]
    for channel in (harness.channel, asleep):
        await double.say(channel, at_bot(double, "hello"))
    await until(lambda: len(host.messages) == 2)
    await harness.stop()
    del world.channels[asleep]  # as Discord tells only of open ones
    double.rest.log.clear()
    await harness.start(host)
    await double.say(harness.channel, "now")
    await until(lambda: len(host.messages) == 3)
    read = [channel for kind, channel, _ in double.rest.log if kind == "HISTORY"]
    assert harness.channel not in read
    assert asleep not in read


async def test_what_was_written_before(double, harness, host):
    """The last messages of a place can be read as quotes, in their order, without the bot's own;
    for a mention that begins a thread they are the channel's; a missing permission is named."""
    adapter = await harness.start(host)
    world = double.world
    for n in range(5):
        world.post(world.general, world.ben, f"word {n}")
        world.post(world.general, world.bot, "of the bot")
    file = world.attach("plan.pdf", b"x", double.rest.base, world.general)
    world.post(world.general, world.ann, "", attachments=[file])
    said = await double.say(world.general, at_bot(double, "what did they say?"))
    world.post(world.general, world.ben, "later")
    await until(lambda: host.messages)
    at = host.messages[0].address
    got = await adapter.earlier(at, said["id"], 3)
    assert [(q.author, q.text) for q in got] == [
        ("Ben", "word 3"), ("Ben", "word 4"), ("Ann", "[file: plan.pdf]")
    ]  # fmt: skip
    assert [q.by for q in got] == [harness.identity(who) for who in ("ben", "ben", "ann")]
    assert isinstance(adapter, Earlier)
    whole = places.in_channel(int(world.guild_id), int(world.general))
    assert (await adapter.earlier(whole, "no key of a message", 1))[0].text == "later"
    world.denied[world.general].add("READ_MESSAGE_HISTORY")
    with pytest.raises(NotAllowed) as caught:
        await adapter.earlier(whole, "", 3)
    assert "Read Message History" in caught.value.missing
