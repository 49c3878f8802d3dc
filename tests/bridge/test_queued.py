"""A message that waits behind a running turn: its word, and "stop and do this instead"."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from adapters.contract import ActionIn, Identity, Lifecycle, Sender
from bridge.engine.deciding import NOT_WAITING
from bridge.engine.queued import MANY, MOST_BUTTONS, NEXT, NONE_LEFT, QUEUED, STARTED, TAKEN_BACK
from tests.bridge.house import OWNER, until

POSTGRES_TOO = "full"
BUSY = "say working then hang"
OTHER = Sender(Identity("memory", "t", "second"), "Sid", host_owner=True)


def button(house, verb="instead", channel="c1") -> str:
    return next(c for c in house.choices(channel) if c.startswith(f"{verb}:"))


def words(house) -> list[str]:
    """The keys of the posts about messages that wait."""
    return [key for key in house.platform.by_key if key.endswith(".queued")]


async def waiting(house, *texts: str) -> None:
    """A turn runs, and these wait behind it."""
    await house.say(BUSY)
    await house.sees("working")
    for text in texts:
        await house.say(text)
    await house.sees(QUEUED)


async def test_stop_and_do_this_instead(up, wait):
    """The running turn ends, this message is taken before those that waited longer."""
    await waiting(up, "say first")
    first = button(up)
    await up.say("say second")
    await up.sees(MANY.format(count=2))
    second = button(up)
    assert second != first
    assert (await up.click(second, key="x")).outcome == "stored"
    assert (await up.click(second, key="x")).outcome == "duplicate"
    await up.sees("first")
    assert up.prompts() == [BUSY, "say second", "say first"]
    await up.sees("Stopped.")
    await up.sees(NONE_LEFT)
    assert not up.choices()
    assert len(words(up)) == 1


async def test_a_late_click_is_explained(up):
    """Once the message runs there is nothing to change; its presser alone is told."""
    await waiting(up, "say first then hang")
    instead = button(up)
    await up.click(instead)
    await up.sees("first")
    await up.click(instead)
    await up.sees("has started already")
    assert [m.only_for for m in up.platform.shown() if "has started already" in m.markdown] == [
        OTHER.identity.__class__("memory", "t", "owner")
    ]
    assert up.agent.open


@pytest.mark.parametrize("who", ["second", "stranger"])
async def test_only_the_owner_may(up, stranger, who):
    """Anybody else is refused with a word for them alone, and what runs goes on."""
    await waiting(up, "say first")
    sender = OTHER if who == "second" else stranger
    await up.click(button(up), sender=sender)
    await up.sees("Only those who take part" if who == "second" else "not let in")
    assert up.platform.shown()[-1].only_for == sender.identity
    assert up.prompts() == [BUSY]


async def test_it_survives_a_restart(house, wait):
    """The word and its button are the same after one; the message still waits."""
    await house.start()
    await waiting(house, "say first")
    instead = button(house)
    await house.bridge.stop()
    await house.start()
    await house.click(instead)
    await house.sees("first")
    await wait(lambda: STARTED in house.texts())
    assert house.prompts() == [BUSY, "say first"]


async def test_instead_of_a_question(up):
    """A turn that waits for a decision ends the same way, and its card says so."""
    await up.say("run rm -r build then say no")
    await up.card()
    await up.say("say first")
    await up.sees(QUEUED)
    await up.click(button(up))
    await up.sees("first")
    assert not any(c.startswith("d:") for c in up.choices())


async def test_taken_back(up, wait):
    """It says so, and the message never starts."""
    await waiting(up, "say never")
    await up.click(button(up, "stop"))
    await up.sees(TAKEN_BACK)
    await up.command("stop")
    await up.say("say end")
    await up.sees("end")
    assert up.prompts() == [BUSY, "say end"]
    assert NEXT not in up.texts()


async def test_one_word_however_many_wait(up, wait):
    """It is edited, and counts; each of them can be taken back, and so it ends."""
    await waiting(up, "say number 1")
    for number in range(2, MOST_BUTTONS + 3):
        await up.say(f"say number {number}")
    await up.sees(MANY.format(count=MOST_BUTTONS + 2))
    assert len(words(up)) == 1
    for left in range(MOST_BUTTONS + 2, 0, -1):
        stops = [c for c in up.choices() if c.startswith("stop:")]
        assert len(stops) == min(left, MOST_BUTTONS)
        await up.click(stops[0])
        await wait(lambda stop=stops[0]: stop not in up.choices())
    await up.sees(NONE_LEFT)
    assert up.prompts() == [BUSY]


async def test_the_next_ones_have_a_word_of_their_own(up):
    """Below what was said meanwhile: the old word stays as it ended."""
    await waiting(up, "say first then hang")
    await up.click(button(up))
    await up.sees(STARTED)
    await up.say("say second")
    await up.sees(QUEUED)
    assert len(words(up)) == 2


async def test_names_of_buttons_are_short_and_plain(up):
    """What somebody wrote cannot break a button's label."""
    await waiting(up, "say one\n\x1b[31m two three four five six")
    await up.say("say @everyone `x`")
    await up.sees(MANY.format(count=2))
    labels = [c.label for post in up.platform.shown() for c in post.choices]
    assert "Take back “say one [31m two three…”" in labels
    assert all(label.isprintable() and len(label) < 40 for label in labels)


async def test_a_word_that_was_never_said(house, wait):
    """The bridge dies before it is; the next message that waits says how many there are."""
    await house.start()
    await house.say(BUSY)
    await house.sees("working")
    await house.say("say first")
    await house.bridge.stop()
    await house.start()
    assert not words(house)
    await house.say("say second")
    await house.sees(MANY.format(count=2))
    assert len(words(house)) == 1


async def test_instead_of_a_question_is_done_once(up, wait):
    """A click that is acted on again, after a crash or by a second node, queues its message once;
    another click comes too late and is told."""
    await up.say("run rm -r build then say no")
    instead = next(c for c in await up.card() if c.endswith(":instead"))
    act, rest = up.bridge._clicks._deciding.act, instead.partition(":")[2]

    async def tell(text: str) -> None:
        raise AssertionError(text)

    def click(key: str) -> ActionIn:
        return ActionIn((key,), up.at(), OWNER, instead, (("text", ("say other",)),))

    first = click("one")
    assert await asyncio.gather(*(act(first, rest, tell) for _ in range(3))) == ["", "", ""]
    await up.sees("other")
    assert await act(first, rest, tell) == ""
    assert await act(click("two"), rest, tell) == NOT_WAITING
    await up.say("say end")
    await up.sees("end")
    assert up.prompts() == ["run rm -r build then say no", "say other", "say end"]


async def test_edits_and_deletes_of_what_is_asked_again(up):
    """A message that waits because of Retry follows what its sender does to it."""
    for key in ("edited", "deleted"):
        await up.say("error 400", key=key)
    await wait_for(up, 2)
    again = [choice for choice in up.choices() if choice.startswith("retry:")]
    await up.say(BUSY)
    await up.sees("working")
    for choice in again:
        await up.click(choice)
    await until(lambda: up.bridge._clicks._tasks == {})
    for kind, key, text in [("edited", "edited", "say right"), ("deleted", "deleted", "")]:
        event = Lifecycle(kind, up.at(), OWNER, key, text)
        assert (await up.host.submit(event)).outcome == "stored"
        assert (await up.host.submit(replace(event, sender=OTHER))).outcome == "ignored"
    await up.command("stop")
    await up.sees("right")
    await up.say("say end")
    await up.sees("end")
    assert up.prompts() == ["error 400", "error 400", BUSY, "say right", "say end"]


async def wait_for(up, failed: int) -> None:
    """So many turns failed, and their rows say so."""
    await until(lambda: sum(c.startswith("retry:") for c in up.choices()) == failed)
    await until(lambda: not up.bridge._workers._held)
