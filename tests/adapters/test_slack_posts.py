"""What the bridge posts: once, whole, in order, no faster than Slack bears, and calling nobody."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import (
    Address,
    Choice,
    Field,
    FileOut,
    Gone,
    Identity,
    MessageOut,
    NotAllowed,
    PostRef,
    Step,
    TryLater,
)
from adapters.slack.blocks import TEXT_LIMIT, Rendered, bare, render, simpler
from adapters.slack.forms import metadata, view
from adapters.slack.pace import CHANNEL_AT_ONCE, Pace
from adapters.slack.words import calling_nobody
from adapters.testing import RecordingHost
from tests.adapters.slack_harness import slack
from tests.adapters.slack_payloads import ANN, BEN, CHANNEL, TEAM
from tests.adapters.slack_rules import check_message, check_view
from tests.adapters.slack_workspace import SlackError, shown


@pytest.fixture
async def town():
    async with slack() as harness:
        harness.host = RecordingHost()
        harness.adapter = await harness.start(harness.host)
        yield harness


async def test_an_answer_that_broke_off_is_not_doubled(town):
    """Slack took the post and its answer was lost: the next try finds it in the thread."""
    town.slack.breaking["chat.postMessage"] = 1
    with pytest.raises(TryLater):
        await town.adapter.send(town.place, MessageOut("once"), "t_1.0")
    ref = await town.adapter.send(town.place, MessageOut("once"), "t_1.0")
    assert len(town.slack.space.own()) == 1
    assert ref.id.endswith(town.slack.space.own()[0]["ts"])


async def test_nothing_is_read_back_for_what_was_just_asked(town):
    """The first post about a message that this process has just stored needs no look at the
    thread; after a restart it does."""
    await town.ann.write("hello", mention=True)
    said = town.host.messages[0]
    post = MessageOut("Hi", answers=said.keys[0])
    await town.adapter.send(said.address, post, "t_1.0")
    await town.adapter.send(said.address, post, "t_1.1")
    assert town.slack.called("conversations.replies") == []
    await town.stop()
    adapter = await town.start(town.host)
    await adapter.send(said.address, post, "t_1.0")
    assert town.slack.called("conversations.replies")
    assert len(town.slack.space.own()) == 2


async def test_the_bridge_answers_before_it_has_said_stored(town):
    """The bridge's first post may come before its word that the message is new: it waits for that
    and then needs no look at the thread; neither does a mark."""

    class Eager(RecordingHost):
        async def submit(self, inbound):
            receipt = await super().submit(inbound)
            key = inbound.keys[0]
            self.early = [
                asyncio.create_task(
                    town.adapter.send(inbound.address, MessageOut("Hi", answers=key), "t_1.0")
                ),
                asyncio.create_task(town.adapter.react(inbound.address, key, "working")),
            ]
            await asyncio.sleep(0.05)
            return receipt

    await town.stop()
    host = Eager()
    town.adapter = await town.start(host)
    await town.ann.write("hello", mention=True)
    await asyncio.gather(*host.early)
    assert town.slack.called("conversations.replies") == []
    await town.adapter.react(host.messages[0].address, host.messages[0].keys[0], "done")
    assert len(town.slack.called("reactions.remove")) == 1


async def test_found_in_a_long_thread(town):
    """A post is found behind hundreds of others, page by page."""
    ref = await town.adapter.send(town.place, MessageOut("the one"), "t_1.0")
    for number in range(450):
        town.slack.space.add(CHANNEL, {"user": ANN, "text": str(number),
                                       "thread_ts": town.place.thread})  # fmt: skip
    await town.stop()
    adapter = await town.start(town.host)
    assert await adapter.send(town.place, MessageOut("the one"), "t_1.0") == ref
    assert await adapter.send(town.place, MessageOut("another"), "t_1.1") != ref


async def test_slack_asks_for_patience(town):
    """`Retry-After` is obeyed, and told to the bridge."""
    town.slack.busy["chat.postMessage"] = [0.4]
    with pytest.raises(TryLater) as caught:
        await town.adapter.send(town.place, MessageOut("later"), "t_1.0")
    assert caught.value.after == pytest.approx(0.4)
    before = asyncio.get_running_loop().time()
    await town.adapter.send(town.place, MessageOut("later"), "t_1.0")
    assert asyncio.get_running_loop().time() - before >= 0.35


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("is_archived", Gone),
        ("channel_not_found", Gone),
        ("not_in_channel", NotAllowed),
        ("missing_scope", NotAllowed),
        ("restricted_action", NotAllowed),
        ("fatal_error", TryLater),
        ("token_revoked", TryLater),
    ],
)
async def test_refusals(town, code, kind):
    """What Slack refuses means to the bridge what it is: gone, not allowed, or later."""
    town.slack.errors["chat.postMessage"] = [code]
    with pytest.raises(kind) as caught:
        await town.adapter.send(town.place, MessageOut("x"), "t_1.0")
    assert "xoxb" not in str(caught.value)
    if code == "missing_scope":
        assert caught.value.missing == "some:scope"
        assert "some:scope" in caught.value.remedy


async def test_a_server_without_markdown_blocks(town):
    """Another server than Slack's may not know the block: the text is shown as it stands."""
    town.slack.errors["chat.postMessage"] = ["invalid_blocks"]
    town.slack.errors["chat.update"] = ["invalid_blocks"]
    ref = await town.adapter.send(town.place, MessageOut("**bold** <b>"), "t_1.0")
    assert shown(town.slack.space.own()[0]).text == "**bold** &lt;b&gt;"
    await town.adapter.edit(town.place, ref, MessageOut("**bolder**"))
    assert shown(town.slack.space.own()[0]).text == "**bolder**"


async def test_stop_button(town):
    """An unfinished answer has a Stop button, whose press is the command; the finished has none."""
    post = MessageOut("Working", status="Thinking…", final=False)
    ref = await town.adapter.send(town.place, post, "t_1.0")
    assert "Thinking…" in shown(town.slack.space.own()[0]).text
    await town.ann.press("Working", "Stop")
    stop = town.host.commands[0]
    assert (stop.name, stop.address) == ("stop", town.place)
    await town.adapter.edit(town.place, ref, MessageOut("Done."))
    assert all(b["type"] != "actions" for b in town.slack.space.own()[0]["blocks"])


async def test_for_one_person(town):
    """A notice is shown to one person where they are; what has buttons, and what cannot be shown
    there, comes as a direct message."""
    ben = Identity("slack", TEAM, BEN)
    notice = MessageOut("psst", only_for=ben, tone="notice")
    ref = await town.adapter.send(town.place, notice, "click.1")
    assert await town.adapter.send(town.place, notice, "click.1") == ref
    await town.adapter.edit(town.place, ref, notice)
    assert [one["to"] for one in town.slack.space.ephemeral] == [BEN]
    await town.adapter.edit(town.place, ref, MessageOut("psst!", only_for=ben))
    assert [one["to"] for one in town.slack.space.ephemeral] == [BEN, BEN]
    card = MessageOut("choose", (Choice("x:1", "Yes"),), only_for=ben)
    await town.adapter.send(town.place, card, "click.2")
    town.slack.space.channels[CHANNEL].members.remove(BEN)
    await town.adapter.send(town.place, MessageOut("away", only_for=ben), "click.3")
    direct = town.slack.space.channel(BEN)
    assert [shown(one).text for one in direct.messages] == ["choose", "away"]
    other = Identity("discord", "g", "1")
    with pytest.raises(NotAllowed):
        await town.adapter.send(town.place, MessageOut("x", only_for=other), "click.4")


async def test_files_go_below_their_post_once(town):
    """Files are uploaded into the thread, each once a post: also when the upload broke off, when
    an edit brings them, and after a restart."""
    report = FileOut("report.csv", "text/csv", b"a,b")
    more = FileOut("more.txt", "text/plain", b"more")
    post = MessageOut("Here", files=(report,))
    town.slack.errors["files.completeUploadExternal"] = ["internal_error"]
    with pytest.raises(TryLater):
        await town.adapter.send(town.place, post, "t_1.0")
    ref = await town.adapter.send(town.place, post, "t_1.0")
    await town.adapter.edit(town.place, ref, MessageOut("Here", files=(report, more)))
    await town.stop()
    adapter = await town.start(town.host)
    await adapter.edit(town.place, ref, MessageOut("Here", files=(report, more)))
    assert await adapter.send(town.place, post, "t_1.0") == ref
    below = [m for m in town.slack.space.own() if m.get("files")]
    assert [m["files"][0]["name"] for m in below] == ["report.csv", "more.txt"]
    assert all(m["thread_ts"] == town.place.thread for m in below)


async def test_unknown_refs_are_gone(town):
    """A ref that is none of Slack's is gone, and no error of another kind."""
    for ref in ("", "x", ":", "C1:"):
        with pytest.raises(Gone):
            await town.adapter.edit(town.place, PostRef(ref), MessageOut("x"))


async def test_marks(town):
    """A mark replaces the one before, also one that an earlier process set."""
    await town.ann.write("hello", mention=True)
    key, place = town.host.messages[0].keys[0], (CHANNEL, town.ann.last["ts"])
    for mark, name in (("queued", "hourglass_flowing_sand"), ("working", "eyes")):
        await town.adapter.react(town.place, key, mark)
        assert town.slack.space.reactions[place] == [name]
    await town.stop()
    adapter = await town.start(town.host)
    await adapter.react(town.place, key, "done")
    assert town.slack.space.reactions[place] == ["white_check_mark"]


async def test_few_marks_when_there_are_many_messages(town):
    """Past what Slack bears only outcomes are marked: none is missing, and none waits behind marks
    of what was in between."""
    for number in range(30):
        key = f"{CHANNEL}:1700000000.{number:06d}"
        town.slack.space.add(CHANNEL, {"user": ANN, "text": "x", "ts": key.partition(":")[2]})
        town.adapter._arrivals.over(key, True)
        await town.adapter.react(town.place, key, "working")
    put = len(town.slack.called("reactions.add"))
    assert 10 <= put < 30
    assert town.slack.called("reactions.remove") == []


async def test_a_workspace_without_status_lines(town):
    """Where Slack has no status line, it is left alone after the first refusal."""
    town.slack.errors["assistant.threads.setStatus"] = ["missing_scope"]
    await town.adapter.status(town.place, "is thinking")
    await town.adapter.status(town.place, "is writing")
    assert len(town.slack.called("assistant.threads.setStatus")) == 1


async def test_the_clock_alone_is_no_edit(town):
    """Edits are few: one that would change nothing but the status is left to the status line."""
    post = MessageOut("Working", status="Thinking…", final=False)
    ref = await town.adapter.send(town.place, post, "t_1.0")
    for seconds in range(3):
        ticking = MessageOut("Working", status=f"Thinking… {seconds} s", final=False)
        await town.adapter.edit(town.place, ref, ticking)
    assert len(town.slack.called("chat.update")) == 1
    await town.adapter.edit(town.place, ref, MessageOut("Working"))
    assert len(town.slack.called("chat.update")) == 2


async def test_status_lines_do_not_flicker(town):
    """Of many changes the newest comes within some seconds; clearing comes at once."""
    for seconds in range(20):
        await town.adapter.status(town.place, f"Thinking… {seconds} s")
    await town.slack.space.until(lambda: "Thinking… 19 s" in town.slack.space.status_log)
    await town.adapter.status(town.place, "")
    assert town.slack.space.status_log == ["Thinking… 0 s", "Thinking… 19 s", ""]


async def test_pace():
    """A channel gets some posts at once and then one a second; the places are given in order."""
    now = 0.0
    pace = Pace(lambda: now)
    for _ in range(CHANNEL_AT_ONCE):
        assert pace.wait("post", "C1") == 0
        await pace.turn("post", "C1")
    assert pace.wait("post", "C1") == pytest.approx(1.0)
    assert pace.wait("post", "C2") == 0
    now += 1.0
    assert pace.wait("post", "C1") == 0
    pace.block("edit", 5.0)
    assert pace.wait("edit") == pytest.approx(5.0)


async def test_edits_in_between_are_left_out_when_there_are_too_many(town):
    """Past what Slack bears an edit in between is put off, so that the newest state comes later;
    the last one always comes."""
    ref = await town.adapter.send(town.place, MessageOut("0", final=False), "t_1.0")
    edits = (MessageOut(str(number), final=False) for number in range(40))
    told = await asyncio.gather(
        *(town.adapter.edit(town.place, ref, edit) for edit in edits), return_exceptions=True
    )
    assert {type(one) for one in told} == {type(None), TryLater}
    await town.adapter.edit(town.place, ref, MessageOut("the end"))
    assert shown(town.slack.space.own()[0]).text == "the end"


words = st.text(st.sampled_from("ab <>!@#&*_`|\n\\U0channelhere"), max_size=60)


@given(words)
def test_nobody_is_called(text):
    """Nothing in an answer notifies a person, a group or a channel, and it keeps its length."""
    made = calling_nobody(text)
    assert len(made) == len(text)
    for call in ("<!", "<@", "<#", "@channel", "@here"):
        assert call not in made
    post = render(MessageOut(text))
    for call in ("<!", "<@", "<#"):
        assert call not in post.text
        assert call not in str(post.blocks)


fields = st.builds(
    Field,
    st.text("abc0123", min_size=1, max_size=8),
    st.text(max_size=700),
    st.lists(st.tuples(st.text(min_size=1, max_size=300), st.text(max_size=200)), max_size=4).map(
        tuple
    ),
    st.booleans(),
    st.booleans(),
    st.text(max_size=300),
)
posts = st.builds(
    MessageOut,
    st.text(max_size=TEXT_LIMIT),
    st.lists(
        st.builds(
            Choice,
            st.text(min_size=1, max_size=200),
            st.text(max_size=200),
            st.sampled_from(["plain", "primary", "danger"]),
            st.lists(fields, max_size=2).map(tuple),
            st.text(max_size=200),
        ),
        max_size=7,
    ).map(tuple),
    st.lists(
        st.builds(
            Step,
            st.text(max_size=5),
            st.text(max_size=400),
            st.sampled_from(["running", "done", "failed", "waiting"]),
            st.text(max_size=400),
        ),
        max_size=30,
    ).map(tuple),
    status=st.text(max_size=300),
    final=st.booleans(),
    tone=st.sampled_from(["answer", "notice", "error", "decision"]),
)


def refused(made: Rendered) -> str:
    """Slack's name for what is wrong with it."""
    try:
        check_message({"text": made.text, "blocks": made.blocks})
    except SlackError as error:
        return error.code
    return ""


@given(posts)
def test_slack_takes_every_post(post):
    """Whatever a post holds, Slack's limits are kept, and each failed step has a line."""
    made = render(post)
    if refused(made) == "msg_blocks_too_long":
        # Line ends and quotes alone can be too much; then the text goes without blocks.
        assert len(json.dumps(post.markdown, ensure_ascii=False)) > TEXT_LIMIT
        made = bare(made)
    assert refused(made) == ""
    assert refused(simpler(render(MessageOut(post.markdown[:2000])))) == ""
    made = render(post)
    failed = sum(step.state == "failed" for step in post.steps)
    assert str(made.blocks).count("✗ ") >= failed


@given(st.lists(fields, min_size=1, max_size=4, unique_by=lambda field: field.name))
def test_slack_takes_every_form(form):
    """Whatever a form asks, Slack's limits are kept, also after its way through a post's
    metadata."""
    choice = Choice("d:dec_1:answer", "Answer", form=tuple(form))
    made = metadata("t_1.0", (choice,))
    at = Address("slack", TEAM, CHANNEL, "1700000000.000100")
    check_view(view(choice.label, choice.form, choice.action, at, "1700000001.000100"))
    assert made["event_payload"]["key"] == "t_1.0"
