"""A message in, an answer out: through the real engine, store and client."""

import asyncio
import json
import os
import signal
import time

import pytest

from adapters.contract import Attachment, Identity, Lifecycle, Quote, Sender
from agent_service.contract import PROMPT_LIMIT


async def test_answer(up, wait):
    """A message reaches the agent, and its answer comes back where it was asked."""
    assert (await up.say("say hello there")).outcome == "stored"
    await up.sees("hello there")
    await wait(lambda: up.platform.status_log[-1][1] == "")
    assert up.platform.status_log[0][1] != ""
    assert up.platform.shown()[-1].final
    await wait(lambda: up.platform.marks == {"k1": "done"})


async def test_request_says_who_and_where(up):
    """The agent hears the minted ids, the name, and quoted words as quotes."""
    await up.say("say x", quotes=(Quote("Ann", "her words"),))
    await up.sees("x")
    body = json.loads(up.agent.puts[0][1])
    assert body["workspace"].startswith("w_")
    assert body["conversation"].startswith("a_")
    assert body["asker"]["name"] == "Olga"
    assert body["asker"]["may_decide"] is True
    assert body["quotes"] == [{"author": "Ann", "text": "her words"}]
    assert body["limits"]["seconds"] == 1800


async def test_duplicates(up):
    """A message that comes again under any of its keys is answered once."""
    first = up.said("say once", key="a")
    again = up.said("say once", key="b")
    both = type(first)(("a", "b"), *[getattr(first, f) for f in first.__slots__[1:]])
    assert (await up.host.submit(both)).outcome == "stored"
    assert (await up.host.submit(first)).outcome == "duplicate"
    assert (await up.host.submit(again)).outcome == "duplicate"
    await up.sees("once")
    assert up.prompts() == ["say once"]


async def test_racing_submits(up):
    """Of many deliveries of one message at the same moment exactly one is stored."""
    message = up.said("say once")
    receipts = await asyncio.gather(*(up.host.submit(message) for _ in range(20)))
    assert sorted(r.outcome for r in receipts) == ["duplicate"] * 19 + ["stored"]
    await up.sees("once")
    assert len(up.agent.started) == 1


async def test_cancelled_submit(up):
    """A caller that is cancelled in the middle leaves its message stored or not, never stuck."""
    task = asyncio.create_task(up.say("say first"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await up.say("say second")
    await up.sees("second", seconds=3)


async def test_order_under_load(up, wait):
    """Conversations run in parallel, and each one's messages one by one in order."""
    channels = [f"c{n}" for n in range(20)]

    async def talk(channel):
        for n in range(10):
            await up.say(f"drip {channel} {n}", channel)

    await asyncio.gather(*(talk(c) for c in channels))
    await wait(lambda: len(up.agent.started) == 200, 20)
    for channel in channels:
        said = [p for p in up.prompts() if p.startswith(f"drip {channel} ")]
        assert said == [f"drip {channel} {n}" for n in range(10)]
    assert up.agent.most_running > 10
    await wait(lambda: len(up.texts()) == 10)


async def test_platform_order(up, wait):
    """Messages that overtook each other on the way are taken by the platform's order."""
    await up.say("slow 0.2")
    await up.say("say third", order=30)
    await up.say("say second", order=20)
    await wait(lambda: len(up.agent.started) == 3)
    assert up.prompts() == ["slow 0.2", "say second", "say third"]


async def test_concurrency(house, wait):
    """No more turns than allowed at once; the others have their turn, the oldest first."""
    await house.start(bridge_concurrency=2)
    for n in range(6):
        await house.say("slow 0.05", f"c{n}")
    await wait(lambda: sum("slow is done" in t for t in house.platform.texts()) == 6)
    assert house.agent.most_running == 2
    conversations = [c for _, _, c, _ in house.agent.started]
    assert len(set(conversations)) == 6


async def test_stranger(up, stranger):
    """Somebody who is not let in is told so, alone, and the agent hears nothing."""
    await up.say("say secret", sender=stranger)
    await up.sees("not let in yet")
    assert up.platform.shown()[0].only_for == stranger.identity
    assert up.agent.started == []
    assert await up.host.conversations(stranger.identity) == []
    assert "not let in" in await up.command("whoami", sender=stranger)


async def test_owner_keeps_a_conversation(up):
    """A second person cannot speak into, stop or reset somebody's conversation."""
    other = Sender(Identity("memory", "t", "second"), "Sid", host_owner=True)
    await up.say("hang")
    await up.sees("working")
    assert "somebody else" in await up.command("stop", sender=other)
    assert "somebody else" in await up.command("new", sender=other)
    await up.command("stop")
    await up.say("say mine now", sender=other)
    await up.sees("belongs to somebody else")
    assert up.prompts() == ["hang"]


async def test_stranger_first(up, stranger):
    """A stranger who writes first does not own the place: the first known person does."""
    await up.say("say a", sender=stranger)
    await up.sees("not let in")
    await up.say("say hello")
    await up.sees("hello")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("x" * (PROMPT_LIMIT + 1), "200,001 characters"),
        ("broken \ud800 half", "not valid text"),
    ],
)
async def test_bad_text(up, text, told):
    """A message the agent cannot take is answered with the reason, and the next one works."""
    await up.say(text)
    await up.sees(told)
    assert up.platform.shown()[0].tone == "error"
    await up.say("say fine")
    await up.sees("fine")
    assert up.prompts() == ["say fine"]


async def test_files_only(up):
    """Files without words are answered, not dropped."""
    await up.say("", attachments=(Attachment("r", "a.txt", "text/plain", 3),))
    await up.sees("Files cannot be passed on")


async def test_longest_text(up):
    """A prompt of exactly the limit arrives whole."""
    await up.say("say " + "ä" * (PROMPT_LIMIT - 4))
    await up.sees("ä" * 1000)
    assert len(up.prompts()[0]) == PROMPT_LIMIT


@pytest.mark.parametrize(
    ("prompt", "told"),
    [("conflict", "Use another."), ("bad", "The model is unknown."), ("full", "Make room.")],
)
async def test_refused_request(up, prompt, told):
    """What the agent service refuses is told with its remedy, and the queue goes on."""
    await up.say(prompt)
    await up.say("say fine")
    await up.sees(told)
    await up.sees("fine")


async def test_failed_turn_and_retry_once(up, wait):
    """A failed turn offers Retry, which asks again once, as a new turn."""
    await up.say("fail")
    await up.sees("failed: It broke.")
    retry = up.choices()
    assert retry == ["retry:1"]
    assert len(up.agent.started) == 1
    await up.click(retry[0])
    await wait(lambda: len(up.agent.started) == 2)
    await up.click(retry[0])
    await up.sees("asked again already")
    turns = {turn for _, turn, _, _ in up.agent.started}
    assert len(turns) == 2
    assert len(up.agent.started) == 2


async def test_unknown_turn(up):
    """A turn the agent service forgot counts as interrupted: told, with Retry, never rerun."""
    await up.say("forget")
    await up.say("say next")
    await up.sees("was interrupted")
    await up.sees("next")
    assert up.prompts() == ["forget", "say next"]
    assert "retry:1" in up.choices()


async def test_stream_that_breaks(up):
    """A stream that is cut goes on where it was, without a doubled word."""
    await up.say("drop one two three four five six")
    await up.sees("one two three four five six")
    assert up.agent.drops == 3
    assert up.texts() == ["one two three four five six"]


async def test_unreachable_for_a_while(house):
    """Without its agent service the bridge keeps the message, says so once, and goes on."""
    await house.agent.pause()
    await house.start()
    await house.say("say finally")
    await house.sees("not reachable; trying again")
    await house.agent.start()
    await house.sees("finally")
    await house.sees("it is again")
    assert len(house.texts()) == 2


async def test_unreachable_for_too_long(house):
    """After its patience the bridge says that it failed and offers Retry."""
    await house.agent.pause()
    await house.start(bridge_agent_patience_seconds=0.5)
    await house.say("say finally")
    await house.sees("The agent service is not reachable (")
    await house.agent.start()
    await house.click("retry:1")
    await house.sees("finally")


async def test_slow_answer_is_one_turn(house, wait):
    """Puts that time out are repeated with the same body: one turn, one answer."""
    await house.start()
    house.bridge.client._call_timeout = type(house.bridge.client._call_timeout)(total=0.2)
    house.agent.delay = 0.5
    await house.say("say patience")
    await wait(lambda: house.agent.puts == [] and house.platform.status_log)
    await asyncio.sleep(0.6)
    house.agent.delay = 0
    await house.sees("patience")
    assert len(house.agent.started) == 1
    assert len({body for _, body in house.agent.puts}) == 1


async def test_edited_and_deleted_while_queued(up, wait):
    """A message that still waits follows what its sender does to it; one that runs does not."""
    await up.say("slow 0.3", key="running")
    await up.say("say wrong", key="edited")
    await up.say("say never", key="deleted")
    owner = up.said("").sender

    async def change(kind, key, text="", sender=owner):
        event = Lifecycle(kind, up.at(), sender, key, text)
        return (await up.host.submit(event)).outcome

    assert await change("edited", "edited", "say right") == "stored"
    assert await change("deleted", "deleted") == "stored"
    assert await change("deleted", "running") == "ignored"
    assert await change("deleted", "unknown") == "ignored"
    await up.sees("right")
    await up.say("say end")
    await up.sees("end")
    assert up.prompts() == ["slow 0.3", "say right", "say end"]


async def test_only_the_sender_edits(up, stranger):
    """Nobody changes another person's queued message."""
    await up.say("slow 0.2")
    await up.say("say mine", key="mine")
    event = Lifecycle("edited", up.at(), stranger, "mine", "say forged")
    assert (await up.host.submit(event)).outcome == "ignored"
    await up.sees("mine")


async def test_opened_warms(up, wait):
    """Opening a conversation that is known warms it; a stranger's opening does nothing."""
    await up.say("say hi")
    await up.sees("hi")
    await up.host.submit(Lifecycle("opened", up.at(), up.said("").sender))
    await up.host.submit(Lifecycle("opened", up.at("nowhere"), up.said("").sender))
    await wait(lambda: up.agent.warmed)
    body = json.loads(up.agent.puts[0][1])
    assert up.agent.warmed == [
        {"conversation": body["conversation"], "workspace": body["workspace"]}
    ]


async def test_conversations_of_a_person(up, wait):
    """A person sees their own conversations, the last active first, with their state."""
    await up.say("say one", "c1")
    await up.sees("one", "c1")
    await up.say("hang", "c2")
    await up.sees("working", "c2")
    owner = up.said("").sender.identity
    views = await up.host.conversations(owner)
    assert [(v.address.channel, v.title, v.state) for v in views] == [
        ("c2", "hang", "working"),
        ("c1", "say one", "idle"),
    ]


async def test_latency(up, wait):
    """From submit to the agent service having the turn takes a few milliseconds."""
    took = []
    for n in range(30):
        before = time.perf_counter()
        await up.say("say x", f"c{n}")
        await wait(lambda n=n: len(up.agent.started) > n)
        took.append(up.agent.started[-1][0] - before)
    middle = sorted(took)[len(took) // 2]
    print(f"submit to PUT: median {middle * 1000:.1f} ms")
    assert middle < 0.1
    assert os.getpid()
    assert signal.SIGTERM
