"""Connections: renewed without a gap, made again after an outage, and what was missed read back."""

import asyncio
import json

import pytest

from adapters.contract import SetupInvalid
from adapters.testing import RecordingHost
from tests.adapters.slack_harness import slack
from tests.adapters.slack_payloads import BEN, BOT_USER, CHANNEL, DM
from tests.adapters.slack_people import Person


async def running(harness):
    host = RecordingHost()
    adapter = await harness.start(host)
    return host, adapter


async def test_refresh_leaves_no_gap():
    """When Slack asks for new connections, one is open at every moment."""
    async with slack() as town:
        host, _ = await running(town)
        least = len(town.slack.sockets)
        done = asyncio.Event()

        async def watch():
            nonlocal least
            while not done.is_set():
                least = min(least, len(town.slack.sockets))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        opened = town.slack.opened
        await town.slack.refresh()
        await town.slack.space.until(lambda: town.slack.opened >= opened + 2)
        await town.slack.space.until(lambda: len(town.slack.sockets) == 2)
        done.set()
        await watching
        assert least >= 1
        await town.ann.write("still there", mention=True)
        assert [m.text for m in host.messages] == ["still there"]


async def test_outage_and_back():
    """After an outage it connects again by itself; health tells both, and what was said meanwhile
    is handed over once, with its follow-ups."""
    async with slack() as town:
        host, adapter = await running(town)
        await town.ann.write("before", mention=True)
        thread = town.ann.last["ts"]
        await town.ann.write("direct", DM)
        await town.slack.stop()
        async with asyncio.timeout(20):
            while (await adapter.health()).state == "ok":
                await asyncio.sleep(0.01)
        assert "Not connected" in (await adapter.health()).detail
        await town.ann.write("follow-up in the dark", thread=thread, deliver=False)
        await town.ann.write("a new mention", mention=True, deliver=False)
        await town.ann.write("and more", thread=town.ann.last["ts"], deliver=False)
        await town.ann.write("a new direct one", DM, deliver=False)
        await town.ann.write("small talk", deliver=False)
        await Person(town.slack, BOT_USER).write("own words", thread=thread, deliver=False)
        await town.slack.start()
        wanted = {"before", "direct", "follow-up in the dark", "a new mention", "and more",
                  "a new direct one"}  # fmt: skip
        await town.slack.space.until(lambda: {m.text for m in host.messages} == wanted)
        assert (await adapter.health()).state == "ok"
        assert len(host.messages) == len(wanted)


async def test_read_back_at_a_start():
    """What was said while no bridge ran is handed over at the next start, once."""
    async with slack() as town:
        host, _ = await running(town)
        await town.ann.write("before", mention=True)
        thread = town.ann.last["ts"]
        mark = town.root / "state" / "listening.json"
        await town.slack.space.until(mark.exists)
        await town.stop()
        await town.ann.write("missed", thread=thread, deliver=False)
        await town.ann.write("!stop", thread=thread, deliver=False)
        await town.start(host)
        await town.slack.space.until(lambda: len(host.messages) == 2 and host.commands)
        assert [m.text for m in host.messages] == ["before", "missed"]
        assert await town.ann.deliver(town.ann.last)
        assert len(host.commands) == 1
        await town.stop()
        await town.start(host)
        await town.slack.space.until(lambda: host.duplicates)
        assert len(host.messages) == 2


@pytest.mark.parametrize("what", ["", "not json", json.dumps({"at": "soon"}), "[]"])
async def test_a_spoiled_mark_is_none(what):
    """Where it cannot be told since when nobody listened, it starts all the same."""
    async with slack() as town:
        (town.root / "state").mkdir(mode=0o700)
        (town.root / "state" / "listening.json").write_text(what)
        host, _ = await running(town)
        await town.ann.write("hello", mention=True)
        assert len(host.messages) == 1


async def test_wrong_tokens_end_the_start():
    """A token that Slack refuses ends the start, and the setting to change is named."""
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"):
        async with slack(**{name: "x-wrong"}) as town:
            with pytest.raises(SetupInvalid) as caught:
                await town.start(RecordingHost())
            assert caught.value.fields == (name,)
            assert "x-wrong" not in str(caught.value) + caught.value.remedy


async def test_a_token_revoked_meanwhile():
    """A token that stops working is health, nothing is lost, and a call that works mends it."""
    async with slack() as town:
        _, adapter = await running(town)
        town.slack.errors["users.info"] = ["token_revoked"]
        ben = Person(town.slack, BEN)
        assert not await ben.write("hello", mention=True)
        health = await adapter.health()
        assert (health.state, "token_revoked" in health.detail) == ("failed", True)
        assert await ben.deliver(ben.last)
        assert (await adapter.health()).state == "ok"


async def test_starts_before_slack_answers():
    """An unreachable Slack is waited for, and said."""
    async with slack() as town:
        await town.slack.start()
        port_is_known = town.slack.url
        await town.slack.stop()
        starting = asyncio.create_task(town.start(RecordingHost()))
        await asyncio.sleep(0.1)
        assert not starting.done()
        await town.slack.start()
        assert town.slack.url == port_is_known
        adapter = await starting
        assert (await adapter.health()).state == "ok"
        assert CHANNEL in town.place.channel
