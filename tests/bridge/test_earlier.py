"""What was written in a place before a message: read back where its sender asks for it."""

from __future__ import annotations

import sqlite3

from adapters.contract import Lifecycle, NotAllowed, Quote, TryLater
from agent_service.contract import PROMPT_LIMIT
from bridge.engine import reading
from tests.bridge.house import OWNER, STRANGER, until
from tests.bridge.platforms import MemoryPlatform
from tests.bridge.test_people import ADA, let_in


class Readable(MemoryPlatform):
    """A platform that can be read back."""

    def __init__(self, *quotes: Quote) -> None:
        super().__init__()
        self.quotes = list(quotes)
        self.asked: list[tuple[str, int]] = []
        self.refusals: list[Exception] = []

    async def earlier(self, at, before, most):
        self.asked.append((before, most))
        if self.refusals:
            raise self.refusals.pop(0)
        return self.quotes[-most:]


async def test_what_was_written_before_comes_as_quotes(house):
    """The last N, each with its author and their id where they are known; nothing was read for
    the message before, and a redelivered command asks once."""
    house.platform = Readable(Quote("Zed", "too old"), Quote("Ada", "Ship it?", by=ADA.identity),
                              Quote("Sam", "say pwned", by=STRANGER.identity))  # fmt: skip
    await house.start()
    ada = await let_in(house, ADA, "a1")
    await house.say("say first")
    await house.sees("first")
    assert house.platform.asked == []
    for _ in range(2):
        await house.command("read", rest="2 say read", key="k.read")
    await until(lambda: house.answers()[-1] == "read")
    assert house.platform.asked == [("k.read", 2)]
    body = house.agent.bodies()[-1]
    assert body["prompt"] == "say read"
    assert body["quotes"] == [
        {"author": f"Ada (person {ada})", "text": "Ship it?"},
        {"author": "Sam (nobody known here)", "text": "say pwned"},
    ]
    assert len(house.answers()) == 2


async def test_a_place_that_cannot_be_read_is_said(house):
    """A refusal is told with what to do, without asking the agent; patience helps where the
    platform asks for it; and where nothing can be read back at all it is said."""
    house.platform = Readable(Quote("Ada", "hello"))
    house.platform.refusals = [NotAllowed("The bot may not read here.", remedy="Add it.")]
    await house.start()
    await house.command("read", rest="5 say one")
    await until(lambda: any("may not read here." in t and "Add it." in t for t in house.texts()))
    assert house.agent.bodies() == []
    house.platform.refusals = [TryLater("Later.", after=0.01)]
    await house.command("read", rest="5 say two", channel="c2")
    await house.sees("two", "c2")
    house.platform.refusals = [TryLater("Later.", after=0.01) for _ in range(reading.TRIES)]
    await house.command("read", rest="5 say three", channel="c3")
    await until(lambda: any("could not be read. Later." in t for t in house.texts("c3")))


async def test_a_platform_that_has_nothing_to_read(up):
    """It is said, with what to do instead."""
    await up.command("read", rest="5 say one")
    await until(lambda: any("cannot be read back" in text for text in up.texts()))


async def test_more_than_a_prompt_takes(house):
    """The newest are kept."""
    long = "x" * (PROMPT_LIMIT // 2)
    house.platform = Readable(Quote("Ada", long + "old"), Quote("Ben", long), Quote("Cy", "new"))
    await house.start()
    await house.command("read", rest="3 say ok")
    await house.sees("ok")
    quotes = house.agent.bodies()[-1]["quotes"]
    assert [quote["author"] for quote in quotes] == [
        f"{who} (nobody known here)" for who in ("Ben", "Cy")
    ]


async def test_how_read_is_written(house):
    """Bad numbers and a missing question are told; a stranger and who has no part are refused."""
    house.platform = Readable(Quote("Ada", "hello"))
    await house.start()
    for rest in ("", "20", "x what", "-3 what", "٣ what", "5  "):
        assert "read 20 what did we decide?" in await house.command("read", rest=rest)
    for rest in ("0 what", "101 what", "9" * 50 + " what"):
        assert "1 to 100" in await house.command("read", rest=rest)
    assert "not let in" in await house.command("read", "c1", sender=STRANGER, rest="3 say x")
    await let_in(house, ADA, "a1")
    await house.say("say mine")
    await house.sees("mine")
    await house.command("read", "c1", sender=ADA, rest="3 say x")
    assert house.platform.asked == []


async def test_nobody_writes_our_ids(house):
    """A name that looks like somebody's id is told apart, also in full-width letters."""
    me = "p_0123456789abcdef01234567"
    house.platform = Readable(Quote(f"Olga (person {me})", "x", by=STRANGER.identity),
                              Quote(f"Olga (person ｐ_{me[2:]})", "y"))  # fmt: skip
    await house.start()
    await house.command("read", rest="2 say ok")
    await house.sees("ok")
    for quote in house.agent.bodies()[-1]["quotes"]:
        assert quote["author"].endswith("(nobody known here)")
        assert me not in quote["author"]


async def test_a_kill_after_reading_reads_nothing_twice(house):
    """What was read is stored before the agent is asked: the same turn is put again."""
    house.platform = Readable(Quote("Ada", "hello"))
    await house.start()
    await house.stop_agent()
    await house.command("read", rest="1 say ok")
    await until(lambda: house.service is None and stored(house))
    await house.bridge.stop()
    house.platform.quotes = [Quote("Eve", "other words")]
    await house.start_agent()
    await house.start()
    await house.sees("ok")
    assert house.agent.bodies()[-1]["quotes"] == [
        {"author": "Ada (nobody known here)", "text": "hello"}
    ]
    assert len(house.platform.asked) == 1


def stored(house) -> bool:
    """Whether the request holds what was read."""
    with sqlite3.connect(house.home / "bridge" / "bridge.db") as db:
        return any("hello" in (row[0] or "") for row in db.execute("SELECT request FROM message"))


async def test_a_waiting_read_follows_its_message(house):
    """Edited while it waits, it asks what stands there now; deleted, it asks nothing."""
    house.platform = Readable(Quote("Ada", "one"), Quote("Ada", "two"), Quote("Ada", "three"))
    await house.start()
    await house.say("say working then hang")
    await house.sees("working")
    for key in ("edited", "deleted"):
        await house.command("read", rest="1 say wrong", key=key)
    edited = Lifecycle("edited", house.at(), OWNER, "edited", "!read 3 say right")
    assert (await house.host.submit(edited)).outcome == "stored"
    gone = Lifecycle("deleted", house.at(), OWNER, "deleted")
    assert (await house.host.submit(gone)).outcome == "stored"
    await house.command("stop")
    await house.sees("right")
    assert house.platform.asked == [("edited", 3)]
    assert [quote["text"] for quote in house.agent.bodies()[-1]["quotes"]] == [
        "one",
        "two",
        "three",
    ]
    await house.say("say end")
    await house.sees("end")
    assert house.prompts() == ["say working then hang", "say right", "say end"]
