"""What the bridge posts, as Discord gets it."""

from __future__ import annotations

import asyncio
import time

import pytest

from adapters.contract import (
    AdapterContext,
    Choice,
    FileOut,
    FileRefused,
    Gone,
    MessageOut,
    PostRef,
    Step,
    TryLater,
)
from adapters.discord.adapter import DiscordAdapter
from adapters.discord.sending import NONCE_SECONDS
from adapters.testing import RecordingHost

SECONDS = 20.0


def shown(double, channel):
    bot = double.world.bot["id"]
    return [m for m in double.world.messages[channel] if m["author"]["id"] == bot]


async def closed(adapter) -> None:
    """An adapter that never served closes what it opened when it is told to stop."""
    running = asyncio.create_task(adapter.run(RecordingHost()))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_nobody_is_called(double, harness, host):
    """No answer calls anybody: every post and edit says that no mention counts."""
    adapter = await harness.start(host)
    ref = await adapter.send(harness.place, MessageOut("@everyone <@1> <@&2>"), "k1")
    await adapter.edit(harness.place, ref, MessageOut("@here"))
    sent = [body for kind, _, body in double.rest.log if kind in ("POST", "PATCH")]
    assert len(sent) == 2
    assert all(body["allowed_mentions"] == {"parse": []} for body in sent)


async def test_a_lost_answer_makes_no_second_post(double, harness, host):
    """Discord took a post and its answer was lost: tried again, also after a restart, it is found
    by its nonce."""
    adapter = await harness.start(host)
    double.rest.lose = 1
    with pytest.raises(TryLater):
        await adapter.send(harness.place, MessageOut("once"), "k1")
    await harness.stop()
    adapter = await harness.start(host)
    ref = await adapter.send(harness.place, MessageOut("once"), "k1")
    (only,) = shown(double, harness.channel)
    assert ref == PostRef(f"{harness.channel}/{only['id']}")


async def test_a_long_outage_makes_no_second_post(double, harness, tmp_path):
    """Discord forgets nonces after some minutes: then the channel is read back for the post, and
    one that looks alike but belongs to another key is left alone."""
    clock = [time.time()]
    context = AdapterContext(double.settings, tmp_path, tmp_path, owner_uid=1)
    adapter = DiscordAdapter(context, clock=lambda: clock[0])
    twin = await adapter.send(harness.place, MessageOut("the same words"), "other")
    double.rest.lose = 1
    with pytest.raises(TryLater):
        await adapter.send(harness.place, MessageOut("the same words"), "k1")
    double.world.nonces.clear()
    clock[0] += NONCE_SECONDS + 1
    ref = await adapter.send(harness.place, MessageOut("the same words"), "k1")
    assert len(shown(double, harness.channel)) == 2
    assert ref != twin
    again = await adapter.send(harness.place, MessageOut("newer words"), "k1")
    assert again == ref
    await closed(adapter)


async def test_an_old_message_makes_room_for_a_new_one(double, harness, host):
    """Discord has no more edits of an old message: it is taken away, and `Gone` makes the bridge
    post it anew."""
    adapter = await harness.start(host)
    ref = await adapter.send(harness.place, MessageOut("long work"), "k1")
    double.world.old_edits_refused.add(ref.id.partition("/")[2])
    with pytest.raises(Gone):
        await adapter.edit(harness.place, ref, MessageOut("longer work"))
    assert shown(double, harness.channel) == []
    await adapter.send(harness.place, MessageOut("longer work"), "k1~1")
    assert [m["content"] for m in shown(double, harness.channel)] == ["longer work"]


async def test_an_archived_thread_is_edited(double, harness, host):
    """A thread that Discord put away is brought back for an edit."""
    adapter = await harness.start(host)
    ref = await adapter.send(harness.place, MessageOut("before"), "k1")
    double.world.channels[harness.channel]["thread_metadata"]["archived"] = True
    await adapter.edit(harness.place, ref, MessageOut("after"))
    assert [m["content"] for m in shown(double, harness.channel)] == ["after"]


async def test_many_choices(double, harness, host):
    """Up to 25 are buttons, more are menus; each brings its own action."""
    adapter = await harness.start(host)
    for count in (25, 60):
        choices = tuple(Choice(f"x:{count}:{n}", f"No. {n}") for n in range(count))
        await adapter.send(harness.place, MessageOut(f"{count} choices", choices), f"k{count}")
        message = shown(double, harness.channel)[-1]
        for n in (0, count - 1):
            assert await double.press(message, f"No. {n}") is not None
    assert [a.action for a in host.actions] == ["x:25:0", "x:25:24", "x:60:0", "x:60:59"]


async def test_long_labels(double, harness, host):
    """A label that no button can show is whole in the message."""
    adapter = await harness.start(host)
    label = "word " * 30
    await adapter.send(harness.place, MessageOut("Q", (Choice("a", label), Choice("b", "B"))), "k")
    (message,) = shown(double, harness.channel)
    assert " ".join(label.split()) in message["content"]
    assert all(len(p["label"]) <= 80 for p in message["components"][0]["components"])


async def test_an_outcome_takes_the_buttons_and_keeps_the_file(double, harness, host):
    """The whole command stays readable once it was decided; the buttons go."""
    adapter = await harness.start(host)
    file = FileOut("command.sh", "text/plain", b"long")
    card = MessageOut("May it?", (Choice("d:1:allow", "Allow"),), files=(file,), tone="decision")
    ref = await adapter.send(harness.place, card, "k1")
    await adapter.edit(harness.place, ref, MessageOut("May it?\n\n**✓ Allowed by Ann**"))
    (message,) = shown(double, harness.channel)
    assert message["components"] == []
    assert [a["filename"] for a in message["attachments"]] == ["command.sh"]


async def test_what_does_not_fit_is_a_file(double, harness, host):
    """A post that is longer on Discord than the bridge can know is whole in a file; once it fits,
    the file goes."""
    adapter = await harness.start(host)
    text = "| | |\n" * 20 + "`" * 1 + " a||b ](x " * 250
    ref = await adapter.send(harness.place, MessageOut(text), "k1")
    (message,) = shown(double, harness.channel)
    (file,) = message["attachments"]
    path = file["url"].removeprefix(double.rest.base).partition("?")[0]
    assert double.world.files[path][1].decode() == text
    assert len(message["content"]) <= 2000
    await adapter.edit(harness.place, ref, MessageOut("short"))
    assert message["attachments"] == []


async def test_steps_and_status(double, harness, host):
    """Steps are small lines; what failed is never folded away."""
    adapter = await harness.start(host)
    steps = [Step(f"s{n}", f"Read file {n}.txt " + "x" * 60, "done") for n in range(30)]
    steps.insert(5, Step("bad", "Run make", "failed", "exit 2"))
    post = MessageOut("word " * 250, steps=tuple(steps), status="Running make")
    await adapter.send(harness.place, post, "k1")
    (message,) = shown(double, harness.channel)
    for part in ("30 steps", "Run make", "exit 2", "Running make"):
        assert part in message["content"]
    assert len(message["content"]) <= 2000


async def test_marks_follow_each_other(double, harness, host):
    """A mark replaces the one before, also one of an earlier process."""
    adapter = await harness.start(host)
    said = double.world.post(harness.channel, double.world.ann, "hello")

    def marks():
        return {emoji for emoji, who in double.world.marks[said["id"]].items() if who}

    await adapter.react(harness.place, said["id"], "queued")
    await adapter.react(harness.place, said["id"], "working")
    assert marks() == {"👀"}
    await harness.stop()
    adapter = await harness.start(host)
    await adapter.react(harness.place, said["id"], "done")
    assert marks() == {"✅"}


async def test_typing_while_it_works(double, harness, host):
    """The bot types while there is a status, and not after it."""
    adapter = await harness.start(host)
    await adapter.status(harness.place, "is thinking")
    await double.gateway.until(lambda: ("TYPING", harness.channel, None) in double.rest.log)
    await adapter.status(harness.place, "")
    assert len([1 for kind, *_ in double.rest.log if kind == "TYPING"]) == 1


async def test_files_come_from_discord_alone(double, harness, host):
    """A file is fetched from Discord's own hosts, without following it elsewhere."""
    adapter = await harness.start(host)
    await harness.attach("x", "a.txt", b"abc", key="k")
    (wanted,) = host.messages[0].attachments
    (message,) = double.world.messages[harness.channel]
    double.rest.redirect = "http://127.0.0.1:9/"
    with pytest.raises(FileRefused):
        [_ async for _ in adapter.fetch(wanted)]
    double.rest.redirect = ""
    good = message["attachments"][0]["url"]
    for url in ("http://169.254.169.254/x", "file:///etc/passwd", "https://cdn.discordapp.com.evil/x",
                "http://cdn.discordapp.com/x", "https://cdn.discordapp.com:8443/x"):  # fmt: skip
        message["attachments"][0]["url"] = url
        with pytest.raises(FileRefused):
            [_ async for _ in adapter.fetch(wanted)]
    message["attachments"][0]["url"] = good
    assert b"".join([part async for part in adapter.fetch(wanted)]) == b"abc"


async def test_posts_without_serving(double, harness, tmp_path):
    """Where another bridge of the deployment listens, this one can still post and edit."""
    adapter = DiscordAdapter(AdapterContext(double.settings, tmp_path, tmp_path, owner_uid=1))
    ref = await adapter.send(harness.place, MessageOut("from afar"), "k1")
    await adapter.edit(harness.place, ref, MessageOut("changed"))
    assert [m["content"] for m in shown(double, harness.channel)] == ["changed"]
    assert double.gateway.identifies == 0
    await closed(adapter)
