"""A message in, an answer out: through the real engine, store and client."""

import asyncio

import pytest

from adapters.contract import Attachment, Lifecycle, Quote
from agent_service.contract import PROMPT_LIMIT, errors
from bridge.present.turn import MOST_POSTS
from tests.bridge.house import OWNER
from tests.bridge.test_people import ADA, let_in
from tests.bridge.test_sharing import Room

POSTGRES_TOO = "full"
BUSY = "say working then hang"


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
    body = up.agent.bodies()[0]
    assert body["workspace"].startswith("w_")
    assert body["conversation"].startswith("a_")
    assert body["asker"]["name"] == "Olga"
    assert body["own"] is True
    assert body["asker"]["may_decide"] is True
    assert body["quotes"] == [{"author": "Ann (nobody known here)", "text": "her words"}]
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
            await up.say(f"say {channel} {n}", channel)

    await asyncio.gather(*(talk(c) for c in channels))
    await wait(lambda: len(up.agent.started) == 200, 60)
    for channel in channels:
        said = [p for p in up.prompts() if p.startswith(f"say {channel} ")]
        assert said == [f"say {channel} {n}" for n in range(10)]
    assert up.agent.most_running > 1
    await wait(lambda: len([m for m in up.platform.shown(up.at()) if m.tone == "answer"]) == 10)


async def test_platform_order(up):
    """Messages that overtook each other on the way are taken by the platform's order."""
    await up.say(BUSY)
    await up.sees("working")
    await up.say("say third", order=30)
    await up.say("say second", order=20)
    await up.command("stop")
    await up.sees("third")
    assert up.prompts() == [BUSY, "say second", "say third"]


async def test_concurrency(house, wait):
    """No more turns than allowed at once; the others have their turn, the oldest first."""
    await house.start(bridge_concurrency=2)
    for n in range(6):
        await house.say(f"say {n} then hang", f"c{n}")
    for n in range(6):
        await wait(lambda n=n: len(house.agent.started) > n)
        await house.command("stop", f"c{n}")
    for n in range(6):
        await house.sees("Stopped.", f"c{n}")
    assert house.agent.most_running == 2
    assert house.prompts() == [f"say {n} then hang" for n in range(6)]


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
    place = Room(up)
    await let_in(up, ADA, "a1")
    await place.say(BUSY, OWNER)
    await place.sees("working")
    assert "somebody else" in await place.command("stop", sender=ADA)
    assert "somebody else" in await place.command("new", sender=ADA)
    await place.command("stop")
    await place.say("say mine now", ADA)
    await place.sees("belongs to somebody else")
    assert up.prompts() == [BUSY]


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
        ("\x01\x02", "empty"),
        ("\u200b\u2060\ufeff \u0378", "empty"),
        ("\u3164\u2800", "empty"),
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
    """Files without words are a message, too."""
    up.platform.files["r"] = [b"abc"]
    await up.say("", attachments=(Attachment("r", "a.txt", "text/plain", 3),))
    await up.sees("I see inbox/a.txt")


async def test_longest_text(up):
    """A prompt of exactly the limit arrives whole."""
    await up.say("say " + "ä" * (PROMPT_LIMIT - 4))
    await up.sees("ä" * 1000)
    await up.quiet()
    assert len(up.prompts()[0]) == PROMPT_LIMIT
    assert "".join(up.texts()[:MOST_POSTS]).strip("ä") == ""
    file = up.platform.shown()[-1].files[0]
    assert file.data.decode() == "ä" * (PROMPT_LIMIT - 4)


@pytest.mark.parametrize(
    "error",
    [
        errors.Conflict("That id is taken.", remedy="Use another."),
        errors.BadRequest("The model is unknown.", remedy="Choose another."),
        errors.StorageFull("There is no room for the turn.", remedy="Make room."),
        errors.NotAuthentic("The call was refused: the clock is wrong."),
    ],
)
async def test_refused_request(up, error):
    """What the agent service refuses is told with its remedy, and the queue goes on."""
    up.agent.answers["say this"] = error
    await up.say("say this")
    await up.say("say fine")
    await up.sees(f"{error.message}\n\n{error.remedy}".strip())
    await up.sees("fine")


async def test_failed_turn_and_retry_once(up, wait):
    """A failed turn offers Retry, which asks again once, as a new turn."""
    await up.say("say half of it then error 529")
    await up.sees("The model answered 529.")
    retry = up.choices()
    assert retry == ["retry:1"]
    assert len(up.agent.started) == 1
    await up.click(retry[0])
    await wait(lambda: len(up.agent.started) == 2)
    await up.click(retry[0])
    await up.sees("asked again already")
    assert len({one.turn for one in up.agent.started}) == 2


async def test_unknown_turn(up):
    """A turn the agent service forgot counts as interrupted: told, with Retry, never rerun."""
    up.agent.forgotten.add("say lost")
    await up.say("say lost")
    await up.say("say next")
    await up.sees("was interrupted")
    await up.sees("next")
    assert up.prompts() == ["say lost", "say next"]
    assert "retry:1" in up.choices()


async def test_forgotten_in_the_middle(up, wait):
    """What was said before a turn failed for good is finished: nothing seems to go on."""
    up.agent.drops = [2]
    await up.say("say half then run date then hang")
    await up.sees("half")
    up.agent.forgotten.add("say half then run date then hang")
    up.agent.drops = [0]
    await up.agent.stop()
    await up.agent.start()
    await up.sees("was interrupted")
    await wait(lambda: all(post.final and not post.status for post in up.platform.shown()))
    steps = [step.state for post in up.platform.shown() for step in post.steps]
    assert "running" not in steps


async def test_stream_that_breaks(up):
    """A stream that is cut goes on where it was, without a doubled word."""
    up.agent.drops = [2, 1, 3, 0, 0]
    await up.say("slow 1 one two three four five six")
    await up.sees("one two three four five six")
    assert up.agent.drops == []
    assert up.texts() == ["one two three four five six"]


@pytest.mark.full
async def test_stream_that_never_gets_further(house):
    """A service that answers and breaks off for ever is given up in the end, and said so."""
    house.agent.drops = [0] * 1000
    await house.start()
    await house.say("say never heard")
    await house.sees("does not tell how the turn goes on", seconds=100)
    assert house.choices() == ["retry:1"]


async def test_unreachable_for_a_while(house):
    """Without its agent service the bridge keeps the message, says so once, and goes on."""
    await house.agent.stop()
    await house.start()
    await house.say("say finally")
    await house.sees("not reachable; trying again")
    await house.agent.start()
    await house.sees("finally")
    await house.sees("it is again")
    assert len(house.texts()) == 2


async def test_unreachable_for_too_long(house):
    """After its patience the bridge says that it failed and offers Retry."""
    await house.agent.stop()
    await house.start(bridge_agent_patience_seconds=0.5)
    await house.say("say finally")
    await house.sees("The agent service is not reachable.")
    assert str(house.home) not in str(house.texts())
    await house.agent.start()
    await house.click("retry:1")
    await house.sees("finally")


async def test_lost_answers_are_one_turn(up):
    """Puts whose answers are lost are repeated with the same body: one turn, one answer."""
    up.agent.lost_answers = 3
    await up.say("say patience")
    await up.sees("patience")
    assert len(up.agent.puts) == 4
    assert len({body for _, body in up.agent.puts}) == 1
    assert len(up.agent.started) == 1
    assert up.texts() == ["patience"]


async def test_edited_and_deleted_while_queued(up):
    """A message that still waits follows what its sender does to it; one that runs does not."""
    await up.say(BUSY, key="running")
    await up.sees("working")
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
    await up.command("stop")
    await up.sees("right")
    await up.say("say end")
    await up.sees("end")
    assert up.prompts() == [BUSY, "say right", "say end"]


async def test_only_the_sender_edits(up, stranger):
    """Nobody changes another person's queued message."""
    await up.say(BUSY)
    await up.sees("working")
    await up.say("say mine", key="mine")
    event = Lifecycle("edited", up.at(), stranger, "mine", "say forged")
    assert (await up.host.submit(event)).outcome == "ignored"
    await up.command("stop")
    await up.sees("mine")


async def test_opened_warms(up, wait):
    """Opening a conversation that is known warms it; a stranger's opening does nothing."""
    await up.say("say hi")
    await up.sees("hi")
    await up.host.submit(Lifecycle("opened", up.at(), up.said("").sender))
    await up.host.submit(Lifecycle("opened", up.at("nowhere"), up.said("").sender))
    await wait(lambda: up.agent.warmed)
    body = up.agent.bodies()[0]
    assert up.agent.warmed == [
        {
            "conversation": body["conversation"],
            "workspace": body["workspace"],
            "person": body["asker"]["person"],
            "own": True,
        }
    ]


async def test_conversations_of_a_person(up, wait):
    """A person sees their own conversations, the last active first, with their state."""
    await up.say("say one", "c1")
    await up.sees("one", "c1")
    await up.quiet("c1")
    await up.say(BUSY, "c2")
    await up.sees("working", "c2")
    owner = up.said("").sender.identity
    views = await up.host.conversations(owner)
    assert [(v.address.channel, v.title, v.state) for v in views] == [
        ("c2", BUSY, "working"),
        ("c1", "say one", "idle"),
    ]


async def test_a_post_names_what_it_answers(up, wait):
    """Whoever shows posts can tell which message each of them belongs to."""
    await up.say("say one", key="first")
    await up.say("error 500", key="second")
    await up.say("", key="third")
    await up.sees("empty")
    answers = [post.answers for post in up.platform.shown()]
    assert set(answers) == {"first", "second", "third"}
    assert answers[0] == "first"
    assert answers[-1] == "third"


@pytest.mark.full
async def test_the_status_goes_on_while_nothing_happens(up, wait):
    """A step that takes long is seen to go on, and for how long; the post says the same."""
    await up.say("say begun then think 15 then say done")
    await wait(lambda: any(" · 1" in text for _, text in up.platform.status_log), 30)
    await up.sees("done", seconds=30)
    assert any(" · 1" in m.status for shown in up.platform.posts.values() for m in shown)
