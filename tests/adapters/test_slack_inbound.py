"""What people do in Slack reaches the bridge once, and as what it is."""

import asyncio

import pytest

from adapters.contract import CommandView, Identity, MessageOut
from adapters.testing import RecordingHost
from tests.adapters.slack_double import Envelope
from tests.adapters.slack_harness import slack
from tests.adapters.slack_payloads import (
    ANN,
    BEN,
    BOT,
    BOT_USER,
    CHANNEL,
    DM,
    EVE,
    GIL,
    TEAM,
    event,
)
from tests.adapters.slack_people import Person


@pytest.fixture
async def town():
    async with slack() as harness:
        harness.host = RecordingHost()
        harness.adapter = await harness.start(harness.host)
        harness.ben = Person(harness.slack, BEN)
        yield harness


async def test_one_mention_is_one_message(town):
    """Slack delivers a mention twice, as `message` and as `app_mention`: it is one message."""
    assert await town.ann.write("hello there", mention=True)
    assert [m.text for m in town.host.messages] == ["hello there"]
    assert len(town.host.duplicates) == 1
    said = town.host.messages[0]
    assert said.address.thread == town.ann.last["ts"]
    assert said.sender.name == "Ann"
    assert said.sender.groups == ("S0OPS",)


async def test_an_empty_mention_is_a_message(town):
    """A mention alone is handed over without words: what to do with it is the bridge's."""
    assert await town.ann.write("", mention=True)
    assert [m.text for m in town.host.messages] == [""]


async def test_talk_that_is_none_of_ours(town):
    """What nobody wrote to the bot is acknowledged and left alone."""
    assert await town.ann.write("lunch?")
    assert await town.ann.write("soup", thread=town.ann.last["ts"])
    for name in ("message_bot", "message_join", "message_unfurled"):
        assert await town.slack.deliver(event(name)) is not None
    assert await town.slack.deliver(event("message_bot", bot_id=BOT, user=BOT_USER)) is not None
    assert town.host.received == []


async def test_follow_up_needs_no_mention(town):
    """In a thread where the bot is at work a reply is for it, unless it begins with somebody
    else's name."""
    await town.ann.write("begin", mention=True)
    thread = town.ann.last["ts"]
    assert await town.ann.write("go on", thread=thread)
    assert await town.ann.write(f"<@{BEN}> look at this", thread=thread)
    assert await town.ann.write(f"<@{BEN}> and <@{BOT_USER}> look", thread=thread)
    assert [m.text for m in town.host.messages] == [
        "begin",
        "go on",
        f"@Ben ({BEN}) and @Bascule ({BOT_USER}) look",
    ]
    assert len({m.address for m in town.host.messages}) == 1


async def test_each_thread_of_a_direct_message_is_a_conversation(town):
    """A message there begins a thread of its own; a reply goes on with it."""
    await town.ann.write("one", DM)
    first = town.ann.last["ts"]
    await town.ann.write("two", DM)
    await town.ann.write("more of one", DM, thread=first)
    one, two, more = town.host.messages
    assert one.address == more.address != two.address
    assert one.address.direct
    assert one.address.thread == first


async def test_retries_are_never_dropped(town):
    """A redelivery, whatever its count, is taken when the first could not be stored."""
    town.host.refuse = 1
    body = event("app_mention", ts=town.slack.space.ts())
    envelope = Envelope("events_api", body, 900)
    assert await town.slack.deliver_again(envelope) is None
    envelope.attempt = 3
    assert await town.slack.deliver_again(envelope) is not None
    assert len(town.host.messages) == 1


async def test_words_are_readable(town):
    """Mentions, channels, links and escapes arrive as a person sees them."""
    ts = town.slack.space.ts()
    text = (
        f"<@{BOT_USER}>: ask <@{BEN}> in <#C0GENERAL|general> about "
        "<https://example.org/a?b=1&amp;c=2> or <https://example.org|the page>, "
        "<!subteam^S0OPS|@ops> and <!here> if 1 &lt; 2 &amp;&amp; 3"
    )
    await town.slack.deliver(event("app_mention", text=text, ts=ts))
    assert town.host.messages[0].text == (
        f"ask @Ben ({BEN}) in #general about https://example.org/a?b=1&c=2"
        " or [the page](https://example.org), @ops (S0OPS) and @here if 1 < 2 && 3"
    )


async def test_commands_with_people(town):
    """`!share @ben` in a thread names the account; its answer is for the giver alone."""
    await town.ann.write("begin", mention=True)
    town.host.reply = MessageOut("Shared.", only_for=Identity("slack", TEAM, ANN), tone="notice")
    await town.ann.write(f"!Share <@{BEN}>", thread=town.ann.last["ts"])
    given = town.host.commands[0]
    assert (given.name, given.people) == ("share", (Identity("slack", TEAM, BEN),))
    assert BEN in given.rest
    await town.slack.space.until(lambda: town.slack.space.ephemeral)
    assert any("Shared." in seen.text for seen in town.slack.space.seen(ANN))
    assert not any("Shared." in seen.text for seen in town.slack.space.seen(BEN))


async def test_slash_commands(town):
    """`/bascule` is answered at once and to its giver alone; without words it is `help`."""
    town.host.reply = MessageOut("The list.")
    answer = await town.ann.slash("")
    assert answer["response_type"] == "ephemeral"
    assert answer["text"] == "The list."
    await town.ann.slash(f"share <@{BEN}|ben> please")
    help_, share = town.host.commands
    assert (help_.name, help_.address.thread) == ("help", "")
    assert share.people == (Identity("slack", TEAM, BEN),)
    assert share.rest == f"<@{BEN}|ben> please"


async def test_slash_command_that_takes_long(town):
    """Slack waits for three seconds; what takes longer is answered when it is done."""
    town.host.hold()
    answer = await town.ann.slash("status")
    assert answer["text"] == "One moment…"
    town.host.reply = MessageOut("All is well.")
    town.host.release()
    await town.slack.space.until(lambda: town.slack.called("response_url"))
    assert town.slack.called("response_url")[0]["text"] == "All is well."


async def test_slash_command_that_is_not_stored(town):
    """Slack does not deliver it again, so its giver is told."""
    town.host.refuse = 1
    answer = await town.ann.slash("stop")
    assert "could not be stored" in answer["text"]


async def test_edits_and_deletions(town):
    """They name the message by its key, and what it says now."""
    seen = []
    submit = town.host.submit

    async def listening(inbound):
        seen.append(inbound)
        return await submit(inbound)

    town.host.submit = listening
    await town.ann.write("hello", mention=True)
    ts = town.ann.last["ts"]
    message = {"user": ANN, "ts": ts, "text": f"<@{BOT_USER}> hello <@{BEN}>", "type": "message"}
    before = {"user": ANN, "ts": ts, "text": "hello", "type": "message"}
    await town.slack.deliver(event("message_changed", message=message, previous_message=before))
    await town.slack.deliver(event("message_deleted", deleted_ts=ts, previous_message=before))
    edited, deleted = seen[-2:]
    assert (edited.kind, edited.text) == ("edited", f"hello @Ben ({BEN})")
    assert edited.key == deleted.key == town.host.messages[0].keys[0]
    assert edited.address == deleted.address == town.host.messages[0].address
    assert deleted.kind == "deleted"


async def test_guests_and_others_are_refused(town):
    """Guests, other organisations and channels shared with one get nothing, and hear it once and
    alone."""
    await Person(town.slack, GIL).write("hello", mention=True)
    await Person(town.slack, GIL).write("hello?", mention=True)
    await Person(town.slack, EVE).write("hello", mention=True)
    shared = event("app_mention", ts=town.slack.space.ts())
    shared["is_ext_shared_channel"] = True
    assert await town.slack.deliver(shared) is not None
    assert town.host.received == []
    told = [(one["to"], one["text"]) for one in town.slack.space.ephemeral]
    assert [to for to, _ in told] == [GIL, EVE, ANN]
    assert "guests" in told[0][1]
    assert "another organisation" in told[2][1]


async def test_allowed_guests_and_others_keep_their_team():
    """Where the settings allow them they come through, each with the team they belong to."""
    async with slack(SLACK_GUESTS="allow", SLACK_EXTERNAL="allow") as town:
        host = RecordingHost()
        await town.start(host)
        await Person(town.slack, GIL).write("hello", mention=True)
        body = event("message_connect", ts=town.slack.space.ts())
        assert await town.slack.deliver(body) is not None
        assert [m.sender.identity for m in host.messages] == [
            Identity("slack", TEAM, GIL),
            Identity("slack", "T0OTHER", EVE),
        ]
        assert host.messages[1].address.tenant == TEAM


async def test_nobody_passes_while_slack_does_not_say_who(town):
    """Who somebody is decides what they may do: while Slack does not say, it is not taken."""
    town.slack.busy["users.info"] = [1.0]
    assert not await town.ben.write("hello", mention=True)
    assert town.host.received == []
    assert await town.ben.deliver(town.ben.last)
    assert len(town.host.messages) == 1


async def test_groups_are_optional():
    """Without the scope for user groups everything works, and nobody is in one."""
    async with slack() as town:
        await town.slack.start()
        town.slack.errors["usergroups.list"] = ["missing_scope"]
        host = RecordingHost()
        await town.start(host)
        await town.ann.write("hello", mention=True)
        assert host.messages[0].sender.groups == ()


async def test_forwarded_messages_are_quotes(town):
    """A message passed on arrives as a quote, with its files."""
    assert (
        await town.slack.deliver(event("message_forwarded", ts=town.slack.space.ts())) is not None
    )
    said = town.host.messages[0]
    assert said.text == "what is this"
    assert [(q.author, q.text) for q in said.quotes] == [("Ben", f"it is broken, @Ann ({ANN})")]
    assert [(a.ref, a.name) for a in said.attachments] == [("F0SHARED", "trace.log")]


async def test_the_app_is_gone(town):
    """An uninstalled app or a revoked token is shown as health, with what to do."""
    await town.slack.deliver(event("tokens_revoked", tokens={"oauth": ["U1"], "bot": []}))
    assert (await town.adapter.health()).state == "ok"
    for name in ("tokens_revoked", "app_uninstalled"):
        await town.slack.deliver(event(name))
        health = await town.adapter.health()
        assert health.state == "failed"
        assert "SLACK_BOT_TOKEN" in health.remedy


async def test_opened_pages(town):
    """The messages tab warms up and has suggestions; the home tab is drawn for its person."""
    assert await town.slack.deliver(event("app_home_opened_messages")) is not None
    assert len(town.slack.space.prompts) == 3
    assert await town.slack.deliver(event("app_home_opened_home")) is not None
    assert "not let in" in str(town.slack.space.homes[ANN])


async def test_order_of_a_burst(town):
    """Messages of one thread are handed over in the order they came, though the first one's
    sender has to be looked up."""
    await town.ann.write("begin", mention=True)
    thread = town.ann.last["ts"]
    coming = [
        asyncio.create_task(person.write(f"n{n}", thread=thread))
        for n, person in enumerate([town.ben, town.ann, town.ben, town.ann])
    ]
    assert all(await asyncio.gather(*coming))
    texts = [m.text for m in sorted(town.host.messages, key=lambda m: m.order)]
    assert texts == ["begin", "n0", "n1", "n2", "n3"]
    assert town.host.overlaps == 0


def test_the_hosts_commands_are_known():
    """The home page lists what the bridge has; the double's host has a few of each kind."""
    assert CommandView("help", "this list") in RecordingHost().command_views()


async def test_channel_is_where_it_was_said(town):
    """An address names channel and thread, and that others can read there."""
    await town.ann.write("hello", mention=True)
    at = town.host.messages[0].address
    assert (at.platform, at.tenant, at.channel, at.direct) == ("slack", TEAM, CHANNEL, False)
