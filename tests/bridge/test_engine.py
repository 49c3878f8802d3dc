"""The engine when something of its own goes wrong."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import sqlalchemy as sa

from adapters.contract import DeliveryError, Identity, MessageOut, Sender, TryLater
from agent_service.contract.events import TextDelta, TurnFinished
from bridge.engine.feed import NAME
from bridge.engine.worker import SPOILED
from bridge.present.turn import TurnPresentation
from bridge.service import Bridge
from bridge.store.schema import conversation, cursor, message
from tests.bridge.house import until
from tests.bridge.platforms import MemoryPlatform, plugin

POSTGRES_TOO = "full"
ASK = "run rm -r build then say It went on."


class Broken(TurnPresentation):
    """A presentation with a mistake in it."""

    def apply(self, event) -> None:
        if getattr(event, "text", "") == "oops":
            raise ZeroDivisionError
        super().apply(event)


async def place(house) -> int:
    query = sa.select(cursor.c.value).where(cursor.c.name == NAME)
    return await house.bridge.db.tx(lambda con: con.scalar(query)) or 0


async def test_the_place_in_the_feed_is_kept(house):
    """A stop stores how far the feed was read: the next start does not read all of it again."""
    await house.start()
    for number in range(3):
        await house.say(f"say {number}", f"c{number}")
        await house.sees(str(number), f"c{number}")
    seen = house.bridge._feed
    await until(lambda: seen._seq >= 3)
    await house.bridge.stop()
    await house.start()
    assert await place(house) == seen._seq


async def test_a_mistake_of_the_bridge_is_told(house):
    """Where the bridge itself fails at a message, its sender is told, with Retry, and the next
    message works."""
    house.bridge = Bridge(
        house.settings(), given=[plugin(house.platform)], present=Broken, drain_seconds=0.05
    )
    await house.bridge.start()
    await house.say("say half of it then think 1 then say oops")
    await house.sees("Something went wrong inside the bridge")
    assert house.choices() == ["retry:1"]
    await until(lambda: all(post.final for post in house.platform.shown()))
    await house.say("say fine")
    await house.sees("fine")


async def test_a_lost_lease_ends_the_work(house):
    """Whoever lost a conversation stops working on it, and its successor finishes it once."""
    await house.start()
    await house.say("say working then hang")
    await house.sees("working")
    workers = house.bridge._workers
    [task] = workers._held.values()

    def take_over(con) -> None:
        c = conversation.c
        con.execute(conversation.update().values(fence=c.fence + 1, lease_owner="n_other"))

    await house.bridge.db.tx(take_over)
    await workers._renew()
    await until(task.done)
    assert workers._held == {}
    free = conversation.update().values(lease_owner=None, lease_until=0.0)
    await house.bridge.db.tx(lambda con: con.execute(free).rowcount)
    workers.wake_ready()
    await until(lambda: workers._held)
    await house.command("stop")
    await house.sees("Stopped.")
    assert house.answers() == ["working", "Stopped."]


async def test_a_lease_without_a_worker_is_given_back(house):
    """A conversation whose worker is gone without a trace is taken up again, not kept for ever."""
    await house.start()
    await house.say("say working then hang")
    await house.sees("working")
    workers = house.bridge._workers
    [task] = workers._held.values()
    task.cancel()
    await until(lambda: not workers._held)
    await workers._renew()
    workers.wake_ready()
    await until(lambda: workers._held)
    await house.command("stop")
    await house.sees("Stopped.")
    assert house.answers() == ["working", "Stopped."]


async def test_all_places_are_free_in_the_end(house):
    """Whatever became of their turns, no worker keeps its place."""
    await house.start(bridge_concurrency=3)
    house.agent.forgotten.add("say lost")
    for number, text in enumerate(["say x", "say lost", "error 500", "", ASK, "say y"]):
        await house.say(text, f"c{number}")
    await house.card("c4")
    await until(lambda: house.bridge._workers._free == 3)
    await house.command("stop", "c4")
    await house.sees("Stopped.", "c4")
    await until(lambda: house.bridge._workers._free == 3)


async def test_a_message_that_fails_for_good(house):
    """What the bridge cannot read at all is told in its thread after a few tries, once, and the
    next message is answered."""
    await house.start(bridge_concurrency=1)
    await house.say("hang", "c0")
    await until(lambda: house.bridge._workers._held)
    await house.say("say never", "c1")
    await house.say("say afterwards", "c1")
    rubbish = message.update().where(message.c.order == 2).values(payload={"not": "a message"})
    await house.bridge.db.tx(lambda con: con.execute(rubbish).rowcount)
    await house.command("stop", "c0")
    await house.sees("afterwards", "c1", 40)
    assert house.answers("c1") == [SPOILED, "afterwards"]
    await until(lambda: house.bridge._workers._free == 1)


async def test_a_message_that_fails_takes_no_other_with_it(house):
    """What cannot be read is none of the message before it, which is over as it was answered."""
    await house.start()
    await house.say("say working then think 1 then say over", key="good")
    await house.sees("working")
    await house.say("say never", key="bad")
    await house.say("say third")
    rubbish = message.update().where(message.c.status == "queued", message.c.order == 2)
    spoil = rubbish.values(payload={"not": "a message"})
    await house.bridge.db.tx(lambda con: con.execute(spoil).rowcount)
    await until(lambda: house.platform.marks["good"] == "done")
    rows = sa.select(message.c.status, message.c.failures).order_by(message.c.id)

    def stand(con) -> list[tuple[str, int]]:
        return [tuple(row) for row in con.execute(rows)]

    async with asyncio.timeout(20):
        while (now := await house.bridge.db.tx(stand))[0][0] == "running":
            await asyncio.sleep(0.01)
    assert now[0] == ("done", 0)
    await house.sees("third", seconds=40)
    assert house.answers() == ["working\n\nover", SPOILED, "third"]


async def test_a_busy_conversation_starves_nobody(house):
    """Beside a conversation with 200 messages, 20 others are answered long before it is done."""
    await house.start(bridge_concurrency=2)
    for number in range(200):
        await house.say(f"say {number}", "busy")
    for number in range(20):
        await house.say("say mine", f"c{number}")
    await until(lambda: all(house.answers(f"c{number}") == ["mine"] for number in range(20)), 60)
    assert len(house.answers("busy")) < 100
    await until(lambda: house.answers("busy")[199:] == ["199"], 90)
    assert house.answers("busy") == [str(number) for number in range(200)]


async def test_a_busy_person_starves_nobody(house):
    """Somebody whose conversations would fill every place leaves some to others."""
    await house.start(bridge_concurrency=4, bridge_person_concurrency=2)
    for number in range(8):
        await house.say("say working then hang", f"c{number}")
    await until(lambda: sum(bool(house.answers(f"c{number}")) for number in range(8)) == 2)
    other = Sender(Identity("memory", "t", "other"), "Otto", host_owner=True)
    await house.say("say mine", "d1", sender=other)
    await house.sees("mine", "d1")
    await until(lambda: len(house.bridge._workers._held) == 2)
    first = next(f"c{number}" for number in range(8) if house.answers(f"c{number}"))
    await house.command("stop", first)
    await until(lambda: sum(bool(house.answers(f"c{number}")) for number in range(8)) == 3)


class Flaky(MemoryPlatform):
    """It asks for patience now and then, and at times takes a post and does not say so."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = random.Random(3)
        self.troubles = 0
        self.lost: dict[str, int] = {}

    def _trouble(self, about: str, *kinds: str) -> str:
        kind = self.dice.choice(["", "", *kinds])
        if kind == "lost":
            self.lost[about] = self.lost.get(about, 0) + 1
            if self.lost[about] > 3:
                return ""  # a post is given up after several
        self.troubles += bool(kind)
        if kind == "429":
            raise TryLater("Too many requests.", after=0.02)
        return kind

    async def send(self, to, message, key):
        kind = self._trouble(key, "429", "lost")
        ref = await super().send(to, message, key)
        if kind == "lost":
            raise DeliveryError("No answer in time.")
        return ref

    async def edit(self, to, ref, message):
        kind = self._trouble(ref.id, "429", "lost")
        await super().edit(to, ref, message)
        if kind == "lost":
            raise DeliveryError("No answer in time.")


async def test_a_platform_at_its_worst(house):
    """It answers 429, times out after it took a post, and delivers each message three times and
    one of them under two ids: each is answered once, in order, and whole."""
    house.platform = Flaky()
    await house.start()

    async def talk(channel: str) -> None:
        for number in range(4):
            for _ in range(3):
                await house.say(f"say {channel} {number}", channel, key=f"{channel}.{number}")
        twice = house.said(f"say {channel} twice", channel)
        twice = replace(twice, keys=(f"{channel}.event", f"{channel}.message"))
        await house.host.submit(twice)
        await house.host.submit(replace(twice, keys=(f"{channel}.other", f"{channel}.message")))

    channels = [f"c{number}" for number in range(5)]
    await asyncio.gather(*(talk(channel) for channel in channels))
    for channel in channels:
        wanted = [f"{channel} {number}" for number in (0, 1, 2, 3, "twice")]
        await until(lambda c=channel, wanted=wanted: house.answers(c) == wanted, 60)
        await until(lambda c=channel: all(p.final for p in house.platform.shown(house.at(c))))
        assert house.answers(channel) == wanted
    assert house.platform.troubles > 5


async def test_an_agent_service_that_was_set_up_anew(house):
    """Its feed begins before our place in it: it is read from the start, and a turn that goes on
    there is heard of."""
    await house.start()
    for number in range(4):
        await house.say("say x", f"c{number}")
        await house.sees("x", f"c{number}")
    await house.say(ASK, "asks")
    await house.card("asks")
    await until(lambda: house.bridge._feed._seq >= 9)
    before = house.bridge._feed._seq
    await house.stop_agent()
    for file in (house.home / "agent").glob("agent.db*"):
        file.unlink()
    await house.start_agent()
    await until(lambda: house.bridge._feed._seq < before, 30)
    await house.say(ASK, "c1")
    await house.card("c1")
    await house.decide_elsewhere("allow")
    await house.sees("It went on.", "c1")


def test_a_finished_turn_leaves_nothing_open():
    """Every post of a turn that ended, however it ended, is final and shows no step that runs."""
    for outcome in ("completed", "failed", "interrupted", "refused", "over_budget", "timed_out"):
        shown = TurnPresentation(500, 10**6)
        shown.apply(TextDelta("half"))
        shown.apply(TurnFinished(outcome, "", "It ended.", "Try."))
        posts: list[MessageOut] = [post for _, post in shown.posts()]
        assert all(post.final and not post.status for post in posts)
