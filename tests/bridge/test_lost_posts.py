"""A platform that refuses a post for good, or does not answer at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from adapters.contract import Address, Choice, DeliveryError, FileOut, MessageOut, NotAllowed
from bridge.engine.delivery import Delivery
from bridge.engine.say import say
from bridge.store.schema import message
from tests.bridge.house import until
from tests.bridge.platforms import MemoryPlatform

AT = Address("memory", "t", "c1", direct=True)
REFUSED = "The bot may not do that here. Add files:write."
FILE = FileOut("a.txt", "text/plain", b"abc")


class Refusing(MemoryPlatform):
    """Takes no post that `refuses` is true for."""

    def __init__(self, refuses: Callable[[MessageOut], bool]) -> None:
        super().__init__()
        self.refuses = refuses

    def _look(self, message: MessageOut) -> None:
        if self.refuses(message):
            raise NotAllowed("The bot may not do that here.", remedy="Add files:write.")

    async def send(self, to, message, key):
        self._look(message)
        return await super().send(to, message, key)

    async def edit(self, to, ref, message):
        self._look(message)
        await super().edit(to, ref, message)


async def unrecorded(_key, _ref) -> None:
    """Nobody asks."""


def unheard(_name, _error, _for_good) -> None:
    """Nobody asks."""


def delivery(platform, **more) -> Delivery:
    return Delivery(platform, AT, known={}, record=unrecorded, report=unheard, **more)


async def test_an_answer_that_cannot_be_posted(house):
    """Its thread says that something is missing, why, and what helps; the message is marked and
    kept as failed, and the next one is taken."""
    house.platform = Refusing(lambda m: "important" in m.markdown)
    await house.start()
    await house.say("say important", key="asked")
    await house.sees(REFUSED)
    await until(lambda: house.platform.marks["asked"] == "failed")
    status = sa.select(message.c.status)
    assert await house.bridge.db.tx(lambda con: con.scalar(status)) == "failed"
    await house.say("say fine", key="next")
    await house.sees("fine")
    await until(lambda: house.platform.marks["next"] == "done")


async def test_what_is_refused_for_its_files_comes_without_them():
    """The words are there, and below them what is missing; nothing of it twice."""
    platform = Refusing(lambda m: bool(m.files))
    arrived = await say(platform, AT, "k", MessageOut("Words.", files=(FILE,)), unheard)
    assert not arrived
    assert platform.texts() == [
        "Words.",
        f"Part of what belongs here could not be posted: {REFUSED}",
    ]
    assert await say(platform, AT, "k2", MessageOut("More words."), unheard)


async def test_what_is_there_cannot_be_brought_up_to_date():
    """An edit that is refused is said once, however often it changes; what arrives later counts."""
    platform = Refusing(lambda m: "never" in m.markdown)
    shown = delivery(platform)
    shown.show("k", MessageOut("yes"))
    assert await shown.flush()
    for word in ("never 1", "never 2"):
        shown.show("k", MessageOut(word))
        assert not await shown.flush()
    assert len(platform.texts()) == 2
    shown.show("k", MessageOut("yes again"))
    assert await shown.flush()
    await shown.close()
    assert platform.texts()[0] == "yes again"


async def test_a_state_in_between_that_is_refused_says_nothing():
    """Only how a post looks in the end is worth a word."""
    platform = Refusing(lambda m: not m.final)
    shown = delivery(platform)
    shown.show("k", MessageOut("half", final=False))
    assert await shown.flush()
    shown.show("k", MessageOut("half and whole"))
    assert await shown.flush()
    await shown.close()
    assert platform.texts() == ["half and whole"]


async def test_a_place_that_takes_nothing_at_all():
    """It ends, and whoever asked hears that it did not arrive."""
    platform = Refusing(lambda _: True)
    choices = (Choice("a", "A"),)
    assert not await say(platform, AT, "k", MessageOut("x", choices=choices), unheard)
    assert platform.texts() == []


async def test_a_question_that_nobody_can_see(house):
    """Its turn does not wait a day for an answer that cannot come: it is stopped, its thread is
    told why, and the next message is taken."""
    house.platform = Refusing(lambda m: bool(m.choices))
    await house.start()
    await house.say("run rm -r build then say It went on.")
    await house.sees("so nobody can answer it: The bot may not do that here.")
    await house.sees("Stopped.")
    await until(lambda: not house.agent.open)
    assert any("rm -r build" in text for text in house.texts())
    await house.say("say fine")
    await house.sees("fine")


async def test_a_commands_file_does_not_hold_its_answer(house):
    """The sender has an answer while the platform is slow; a file that it refuses is said."""
    house.platform = Refusing(lambda m: bool(m.files))
    await house.start()
    await house.command("instructions", rest="set " + "x" * 5000)
    house.platform.frozen.clear()
    assert await house.command("instructions") == "Here it is."
    assert house.texts() == []
    house.platform.frozen.set()
    await house.sees("could not be posted")
    assert all(post.only_for is not None for post in house.platform.shown())


@pytest.mark.parametrize("hangs", ["send", "edit"])
async def test_a_call_that_never_returns(hangs):
    """It is given up after a while and made again: by its key it is one post."""
    platform = MemoryPlatform()
    shown = delivery(platform, call_seconds=0.05)
    if hangs == "edit":
        shown.show("k", MessageOut("first"))
        assert await shown.flush()
    platform.frozen.clear()
    heard: list[DeliveryError | None] = []
    shown._report = lambda _, error, _for_good: heard.append(error)
    shown.show("k", MessageOut("last"))
    await until(lambda: heard)
    assert "in time" in str(heard[0])
    platform.frozen.set()
    assert await shown.flush()
    await shown.close()
    assert platform.texts() == ["last"]
