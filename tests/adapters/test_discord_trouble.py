"""What Discord refuses, or has no time for, as the bridge hears of it."""

from __future__ import annotations

import asyncio

import pytest

from adapters.contract import (
    Address,
    FileOut,
    Gone,
    MessageOut,
    NotAllowed,
    TryLater,
)
from adapters.discord import places

SECONDS = 20.0


def shown(double, channel):
    bot = double.world.bot["id"]
    return [m for m in double.world.messages[channel] if m["author"]["id"] == bot]


@pytest.mark.parametrize(
    ("denied", "said"),
    [
        ("SEND_MESSAGES_IN_THREADS", "Send Messages in Threads (SEND_MESSAGES_IN_THREADS)"),
        ("VIEW_CHANNEL", "View Channel (VIEW_CHANNEL)"),
        ("ATTACH_FILES", "Attach Files (ATTACH_FILES)"),
        ("CREATE_PUBLIC_THREADS", "Create Public Threads (CREATE_PUBLIC_THREADS)"),
    ],
)
async def test_a_missing_permission_is_named(double, harness, host, denied, said):
    """Exactly, to the bridge, and directly to who asked, once."""
    world = double.world
    world.denied[world.general].add(denied)
    adapter = await harness.start(host)
    asked = await double.say(world.general, f"<@{world.bot['id']}> work")
    async with asyncio.timeout(SECONDS):
        while not host.messages:
            await asyncio.sleep(0.01)
    post = MessageOut("answer", files=(FileOut("a.txt", "text/plain", b"x"),))
    for key in ("k1", "k2"):
        with pytest.raises(NotAllowed) as caught:
            await adapter.send(host.messages[0].address, post, key)
        assert said in caught.value.missing
        assert caught.value.remedy
    assert asked["id"] not in world.channels or denied != "CREATE_PUBLIC_THREADS"
    told = shown(double, world.direct(world.ann["id"]))
    assert len(told) == 1
    assert said.split(" (")[0] in told[0]["content"]
    assert f"<#{world.general}>" in told[0]["content"]


async def test_who_takes_no_direct_messages(double, harness, host):
    """A blocked direct message is refused with words; its person hears, once, that there is one
    and how to get it, and nobody reads it."""
    adapter = await harness.start(host)
    double.world.blocked_by.add(double.world.ann["id"])
    word = MessageOut("secret", only_for=harness.identity("ann"))
    for key in ("k1", "k2"):
        with pytest.raises(NotAllowed, match="direct messages"):
            await adapter.send(harness.place, word, key)
    (told,) = shown(double, harness.channel)
    assert "take no direct messages" in told["content"]
    assert "secret" not in told["content"]


async def test_a_blocked_stranger_opens_no_thread(double, harness, host):
    """Who is not let in and takes no direct messages is told in the channel, without a thread."""
    adapter = await harness.start(host)
    world = double.world
    world.blocked_by.add(world.ben["id"])
    said = await double.say(world.general, f"<@{world.bot['id']}> hello", world.ben)
    async with asyncio.timeout(SECONDS):
        while not host.messages:
            await asyncio.sleep(0.01)
    word = MessageOut("Your code is 7.", only_for=harness.identity("ben"))
    with pytest.raises(NotAllowed):
        await adapter.send(host.messages[0].address, word, "k1")
    assert said["id"] not in world.channels
    assert "take no direct messages" in shown(double, world.general)[0]["content"]


async def test_files_that_are_too_large_together(double, harness, host):
    """Where Discord does not take a post's files, its words come, and the files are named."""
    adapter = await harness.start(host)
    double.rest.largest = 1000
    files = tuple(FileOut(f"f{n}.bin", "", b"x" * 600) for n in range(3))
    await adapter.send(harness.place, MessageOut("Here", files=files), "k1")
    (message,) = shown(double, harness.channel)
    assert message["attachments"] == []
    assert message["content"].startswith("Here")
    assert all(file.name in message["content"] for file in files)


async def test_a_deleted_place_is_gone(double, harness, host):
    """A channel that is no more raises `Gone`; so does what is no address."""
    adapter = await harness.start(host)
    guild = int(double.world.guild_id)
    for at in (places.in_channel(guild, 77), Address("discord", "", "nowhere", direct=True)):
        with pytest.raises(Gone):
            await adapter.send(at, MessageOut("x"), "k1")
    with pytest.raises(Gone):
        await adapter.send(places.in_thread(guild, int(double.world.general), 78),
                           MessageOut("x"), "k2")  # fmt: skip


async def test_rate_limits_are_kept(double, harness, host):
    """Many edits at once stay within Discord's buckets: they wait for the next window instead of
    being refused again and again, and the last one wins."""
    adapter = await harness.start(host)
    ref = await adapter.send(harness.place, MessageOut("0"), "k1")
    double.rest.limits.limits["PATCH /message"] = (3, 0.5)
    for n in range(1, 10):
        await adapter.edit(harness.place, ref, MessageOut(f"state {n}"))
    assert double.rest.limits.refused <= 1
    assert [m["content"] for m in shown(double, harness.channel)] == ["state 9"]


async def test_a_long_wait_is_told(double, harness, host):
    """A limit that lasts long is `TryLater` with its seconds, and nothing sleeps inside."""
    adapter = await harness.start(host)
    double.rest.limits.limits["POST /messages"] = (0, 3600.0)
    with pytest.raises(TryLater) as caught:
        await adapter.send(harness.place, MessageOut("x"), "k1")
    assert 3000 < caught.value.after < 3601


@pytest.mark.parametrize("status", [503, 401])
async def test_trouble_is_tried_later(double, harness, host, status):
    """What may be over some day is `TryLater`."""
    adapter = await harness.start(host)
    double.rest.down = status
    with pytest.raises(TryLater) as caught:
        await adapter.send(harness.place, MessageOut("x"), "k1")
    assert caught.value.after > 0
