"""The connection to Discord: kept, resumed, made anew, and refused."""

from __future__ import annotations

import asyncio

import pytest

from adapters.contract import AdapterContext, SetupInvalid
from adapters.discord import check as checking
from adapters.discord import hosts, setup
from adapters.discord.adapter import DiscordAdapter
from tests.adapters.discord_double.double import Double
from tests.adapters.discord_harness import DiscordHarness

SECONDS = 30.0


async def until(check) -> None:
    async with asyncio.timeout(SECONDS):
        while not check():
            await asyncio.sleep(0.01)


async def state_is(adapter, state: str):
    async with asyncio.timeout(SECONDS):
        while (health := await adapter.health()).state != state:
            await asyncio.sleep(0.01)
    return health


def named(double, text: str) -> str:
    return f"<@{double.world.bot['id']}> {text}"


@pytest.mark.parametrize("how", ["drop", "reconnect", "closed"])
async def test_a_broken_connection_is_resumed(double, harness, host, how):
    """Nothing that was said meanwhile is lost or comes twice, and no new session is begun."""
    adapter = await harness.start(host)
    await double.say(harness.channel, named(double, "one"))
    await until(lambda: len(host.messages) == 1)
    if how == "closed":
        await double.gateway.close(4000)
    else:
        await getattr(double.gateway, how)()
    await double.say(harness.channel, "two")
    await double.gateway.until(lambda: double.gateway.resumes == 1)
    await double.say(harness.channel, "three")
    await until(lambda: len(host.messages) == 3)
    assert [m.text for m in host.messages] == ["one", "two", "three"]
    assert double.gateway.identifies == 1
    assert host.duplicates == []
    await state_is(adapter, "ok")


async def test_a_session_that_is_over(double, harness, host):
    """Where Discord begins a new session, what was said in between is read back, once and before
    what comes after."""
    adapter = await harness.start(host)
    await double.say(harness.channel, named(double, "one"))
    await until(lambda: len(host.messages) == 1)
    double.world.post(harness.channel, double.world.ann, "missed")
    await double.gateway.invalidate()
    await double.gateway.until(lambda: double.gateway.identifies == 2)
    await state_is(adapter, "ok")
    await double.say(harness.channel, "after")
    await until(lambda: len(host.messages) == 3)
    assert [m.text for m in host.messages] == ["one", "missed", "after"]


async def test_heartbeats_are_sent(double, harness, host):
    """The gateway hears that the bot is alive from the first moment."""
    await harness.start(host)
    assert double.gateway.heartbeats >= 1


async def test_shards(host):
    """As many shards as Discord asks for; direct messages and interactions come on theirs."""
    async with Double(shards=3) as double:
        harness = DiscordHarness(double, direct=False)
        try:
            await harness.start(host)
            assert sorted(s.shard for s in double.gateway.live) == [[n, 3] for n in range(3)]
            await double.say(double.world.direct(double.world.ann["id"]), "directly")
            await double.say(harness.channel, named(double, "in a thread"))
            await until(lambda: len(host.messages) == 2)
            assert await double.command(harness.channel, "help") is not None
        finally:
            await harness.close()


async def test_a_token_that_discord_does_not_know(double, host, tmp_path):
    """The start stops, names the setting and what to do, and shows no token."""
    wrong = "wrong-" + "y" * 40
    settings = double.settings | {"DISCORD_BOT_TOKEN": wrong}
    adapter = DiscordAdapter(AdapterContext(settings, tmp_path, tmp_path, owner_uid=1))
    with pytest.raises(SetupInvalid) as caught:
        await adapter.run(host)
    assert caught.value.fields == ("DISCORD_BOT_TOKEN",)
    assert "Reset it" in caught.value.remedy
    assert wrong not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize(
    ("code", "field"), [(4004, "DISCORD_BOT_TOKEN"), (4014, "DISCORD_MESSAGE_CONTENT")]
)
async def test_a_fatal_close_at_the_start(double, host, tmp_path, code, field):
    """Discord closes for good: the start stops and says which setting to change."""
    double.gateway.refuse = [code]
    adapter = DiscordAdapter(AdapterContext(double.settings, tmp_path, tmp_path, owner_uid=1))
    with pytest.raises(SetupInvalid) as caught:
        async with asyncio.timeout(SECONDS):
            await adapter.run(host)
    assert caught.value.fields == (field,)
    assert caught.value.remedy


async def test_an_intent_that_is_not_allowed(host, tmp_path):
    """Asked for although the application may not have it, it stops the start with what to do;
    left to itself, the adapter does without."""
    async with Double(content_intent=False) as double:
        settings = double.settings | {"DISCORD_MESSAGE_CONTENT": "on"}
        adapter = DiscordAdapter(AdapterContext(settings, tmp_path, tmp_path, owner_uid=1))
        with pytest.raises(SetupInvalid, match="does not let this bot read"):
            async with asyncio.timeout(SECONDS):
                await adapter.run(host)


@pytest.mark.parametrize("code", [4004, 4014])
async def test_a_fatal_close_later(double, harness, host, code):
    """A token that is reset, or an intent taken away, while it runs stops nothing else: health
    says what to do."""
    adapter = await harness.start(host)
    await double.gateway.close(code)
    health = await state_is(adapter, "failed")
    assert str(code) in health.detail
    assert "discord.com/developers" in health.remedy


async def test_discord_away_at_the_start(host, tmp_path):
    """While Discord cannot be reached it is tried again, and health says so; then it works."""
    double = Double()
    async with double:
        settings = double.settings
    adapter = DiscordAdapter(AdapterContext(settings, tmp_path, tmp_path, owner_uid=1))
    running = asyncio.create_task(adapter.run(host))
    health = await state_is(adapter, "degraded")
    assert health.remedy
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()


async def test_no_more_connections_today(double, host, tmp_path):
    """Discord's daily number of connections is not used up by trying."""
    double.gateway.remaining = 0
    adapter = DiscordAdapter(AdapterContext(double.settings, tmp_path, tmp_path, owner_uid=1))
    running = asyncio.create_task(adapter.run(host))
    health = await state_is(adapter, "degraded")
    assert "no more connections today" in health.detail
    assert double.gateway.identifies == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_doctor(double):
    """`doctor` says whose the token is and what cannot be read; a wrong token fails with what to
    do."""
    lines = await checking.check(double.settings)
    assert [line.state for line in lines] == ["ok", "ok"]
    assert "Bascule" in lines[0].detail
    double.world.content_intent = False
    lines = await checking.check(double.settings)
    assert [line.state for line in lines] == ["ok", "warning"]
    assert "Message Content Intent" in lines[1].remedy
    (line,) = await checking.check(double.settings | {"DISCORD_BOT_TOKEN": "x"})
    assert line.state == "failed"
    assert line.remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DISCORD_API_URL", "http://discord.example/api/v10"),
        ("DISCORD_API_URL", "ftp://127.0.0.1/"),
        ("DISCORD_API_URL", "discord.com"),
        ("DISCORD_GATEWAY_URL", "ws://gateway.example/"),
        ("DISCORD_MESSAGE_CONTENT", "perhaps"),
        ("DISCORD_BOT_TOKEN", ""),
        ("DISCORD_BOT_TOKEN", "two words"),
        ("DISCORD_BOT_TOKEN", "ünï"),
    ],
)
async def test_settings_that_cannot_be(double, name, value):
    """They are refused with their name; the token is never sent over an open line."""
    with pytest.raises(SetupInvalid) as caught:
        setup.read(double.settings | {name: value})
    assert caught.value.fields == (name,)
    hosts.use_api(hosts.DISCORD)


def test_a_token_is_in_no_words():
    """What is printed of the settings does not hold it."""
    known = setup.read({"DISCORD_BOT_TOKEN": "Bot secret-token"})
    assert known.token == "secret-token"
    assert "secret" not in repr(known)
