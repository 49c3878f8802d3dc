"""Answers that grow by appending, and go on as ordinary posts where that ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import FOLDED, MessageOut, PostRef, Step, TryLater
from adapters.slack.streams import Streams, _Stream, _streamed
from adapters.testing import RecordingHost
from tests.adapters.slack_harness import slack
from tests.adapters.slack_payloads import CHANNEL
from tests.adapters.slack_workspace import buttons, shown


@pytest.fixture
async def town():
    async with slack() as harness:
        harness.host = RecordingHost()
        harness.adapter = await harness.start(harness.host)
        await harness.ann.write("hello", mention=True)
        harness.at = harness.host.messages[0].address
        harness.key = harness.host.messages[0].keys[0]
        yield harness


def growing(town, text, *steps, **more) -> MessageOut:
    more = {"final": False, "status": "Writing…", **more}
    return MessageOut(text, steps=steps, answers=town.key, **more)


def post(town):
    (only,) = town.slack.space.own(CHANNEL)
    return only


async def test_an_answer_grows(town):
    """Text is appended, steps are tasks that change in place, Stop is there until the end, and
    then it is an ordinary post that can be found by its key."""
    adapter, run = town.adapter, Step("s1", "Run make", "running")
    ref = await adapter.send(town.at, growing(town, "…", run), "t_1.0")
    assert "in_progress Run make" in shown(post(town)).text
    assert [b["action_id"] for b in buttons(post(town))] == ["stop"]
    await adapter.edit(town.at, ref, growing(town, "One", run))
    failed = Step("s1", "Run make", "failed", "exit 2")
    await adapter.edit(town.at, ref, growing(town, "One and two", failed))
    assert town.slack.called("chat.update") == []
    assert "error Run make exit 2" in shown(post(town)).text
    assert post(town)["text"] == "One and two"
    await adapter.edit(town.at, ref, MessageOut("One and two.", steps=(failed,), answers=town.key))
    assert town.slack.space.streams == {}
    assert buttons(post(town)) == []
    assert shown(post(town)).text == "One and two.\n✗ Run make: exit 2"
    await town.stop()
    adapter = await town.start(town.host)
    again = MessageOut("One and two.", answers=town.key)
    assert await adapter.send(town.at, again, "t_1.0") == ref


async def test_a_stream_that_expired(town):
    """In a long call Slack ends the stream: the same post goes on by edits."""
    ref = await town.adapter.send(town.at, growing(town, "One"), "t_1.0")
    town.slack.space.expiring_streams = True
    await town.adapter.edit(town.at, ref, growing(town, "One and two"))
    await town.adapter.edit(town.at, ref, growing(town, "One and two and three"))
    assert shown(post(town)).text.startswith("One and two and three")
    assert len(town.slack.called("chat.appendStream")) == 1


async def test_text_that_changes_its_beginning(town):
    """What cannot be appended is edited."""
    ref = await town.adapter.send(town.at, growing(town, "One"), "t_1.0")
    await town.adapter.edit(town.at, ref, growing(town, "Two"))
    assert shown(post(town)).text.startswith("Two")
    assert "One" not in shown(post(town)).text


async def test_a_workspace_without_streams(town):
    """Where there are none, it is an ordinary post, and Slack is not asked each time."""
    town.slack.errors["chat.startStream"] = ["unknown_method"]
    await town.adapter.send(town.at, growing(town, "One"), "t_1.0")
    await town.adapter.send(town.at, growing(town, "Two"), "t_1.1")
    assert len(town.slack.called("chat.startStream")) == 1
    assert len(town.slack.called("chat.postMessage")) == 2


async def test_streams_without_buttons(town):
    """Where a stream takes no blocks it grows without Stop, which its thread's `!stop` does."""
    town.slack.space.plain_streams = True
    await town.adapter.send(town.at, growing(town, "One"), "t_1.0")
    assert post(town)["text"] == "One"
    assert buttons(post(town)) == []


@pytest.mark.parametrize("lost", ["the answer", "the process", "both, and it expired"])
async def test_an_orphan_is_taken_up(town, lost):
    """A stream that Slack began and nobody heard of is found in the thread and goes on; there is
    no second post."""
    town.slack.breaking["chat.startStream"] = 1
    with pytest.raises(TryLater):
        await town.adapter.send(town.at, growing(town, "One"), "t_1.0")
    adapter = town.adapter
    if lost != "the answer":
        await town.stop()
        adapter = await town.start(town.host)
    if "expired" in lost:
        town.slack.space.streams.clear()
    ref = await adapter.send(town.at, growing(town, "One"), "t_1.0")
    await adapter.edit(town.at, ref, growing(town, "One and two"))
    await adapter.edit(town.at, ref, MessageOut("One and two.", answers=town.key))
    assert shown(post(town)).text == "One and two."
    assert town.slack.space.streams == {}
    other = await adapter.send(town.at, MessageOut("Next", answers=town.key), "t_1.1")
    assert other != ref


async def test_a_known_stream_is_no_orphan(town):
    """A post that the bridge knew is edited first and never taken for another one."""
    ref = await town.adapter.send(town.at, growing(town, "One"), "t_1.0")
    await town.stop()
    adapter = await town.start(town.host)
    await adapter.edit(town.at, ref, growing(town, "One"))
    other = await adapter.send(town.at, MessageOut("Next", answers=town.key), "t_1.1")
    assert other != ref
    assert len(town.slack.space.own(CHANNEL)) == 2


async def test_a_notice_takes_no_orphan_up(town):
    """Only an answer can have been a stream: a notice is posted by itself."""
    town.slack.breaking["chat.startStream"] = 1
    with pytest.raises(TryLater):
        await town.adapter.send(town.at, growing(town, "One"), "t_1.0")
    await town.stop()
    adapter = await town.start(town.host)
    notice = MessageOut("It waits.", tone="notice", answers=town.key)
    await adapter.send(town.at, notice, "m_2.queued")
    assert len(town.slack.space.own(CHANNEL)) == 2


async def test_an_append_that_broke_off(town):
    """What Slack may have heard is not appended again: the post goes on by edits."""
    ref = await town.adapter.send(town.at, growing(town, "One"), "t_1.0")
    town.slack.breaking["chat.appendStream"] = 1
    await town.adapter.edit(town.at, ref, growing(town, "One and two"))
    await town.adapter.edit(town.at, ref, growing(town, "One and two and three"))
    assert shown(post(town)).text.startswith("One and two and three")


async def test_an_outage_in_the_middle(town):
    """While Slack cannot be reached nothing counts as shown: afterwards the post is whole."""
    ref = await town.adapter.send(town.at, growing(town, "One"), "t_1.0")
    town.slack.errors["chat.appendStream"] = ["internal_error"]
    town.slack.errors["chat.stopStream"] = ["internal_error"]
    with pytest.raises(TryLater):
        await town.adapter.edit(town.at, ref, growing(town, "One and two"))
    await town.adapter.edit(town.at, ref, growing(town, "One and two"))
    assert shown(post(town)).text.startswith("One and two")


async def test_too_many_appends(town):
    """Slack asks for patience: what was to be appended is appended later, once."""
    ref = await town.adapter.send(town.at, growing(town, "One"), "t_1.0")
    town.slack.busy["chat.appendStream"] = [0.1]
    with pytest.raises(TryLater):
        await town.adapter.edit(town.at, ref, growing(town, "One and two"))
    await town.adapter.edit(town.at, ref, growing(town, "One and two"))
    assert post(town)["text"] == "One and two"


async def test_an_hour_is_too_long():
    """Slack ends a stream after an hour: before that it becomes an ordinary post."""
    now = 0.0
    streams = Streams(None, None, lambda: now)
    streams._open["C1:1.0"] = _Stream(0.0)
    now = 3001.0
    assert not await streams.grow(PostRef("C1:1.0"), MessageOut("x", final=False))


@given(st.lists(st.sampled_from(["a", "`", "```", "\n", "~~~", "b c", "```py\n"]), max_size=30))
def test_what_is_appended_is_the_text(parts):
    """However a text with code grows, the parts appended make up what it says, or it is told that
    they cannot."""
    stream = _Stream(0.0)
    streams = Streams(None, None)
    whole, shown_text = "", ""
    for part in parts:
        whole += part
        closing = "\n```" if whole.count("```") % 2 else ""
        message = MessageOut(whole + closing, final=False)
        if not _streamed(message).startswith(stream.text):
            return
        for chunk in streams._news(stream, message):
            shown_text += chunk["text"]
        assert (whole + closing).startswith(shown_text)


def test_folded_steps_are_left_out():
    """Each task was shown as it came: the one that stands for several says nothing new."""
    stream = _Stream(0.0)
    steps = (Step(FOLDED, "9 steps", "done"), Step("s1", "Read", "done"))
    chunks = Streams(None, None)._news(stream, MessageOut("", steps=steps, final=False))
    assert [chunk["id"] for chunk in chunks] == ["s1"]
