"""Budgets, turns a day, pace: refused and warned in words, over crashes, midnights and nodes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from adapters.contract import Sender
from bridge.budgets.budgets import Budgets, Rules
from bridge.engine.retention import Retention
from bridge.people.access import Person
from bridge.store.dialects import database_at
from bridge.store.schema import budget_warning, message, pace, turns_taken
from tests.bridge.house import OWNER, STRANGER, House, until
from tests.bridge.test_people import ADA, BEN, let_in
from tests.bridge.town import Town

POSTGRES_TOO = "quick"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def dear(home: Path, database: str) -> AsyncIterator[House]:
    """A house in which each step of a script costs a dollar, on a day of the test's choice."""
    prices = home / "prices.json"
    prices.write_text(json.dumps({"*": {"input": 0, "output": 1e6}}))
    made = House(home, database, clock=Clock())
    made.agent_settings = made.agent_settings.model_copy(update={"agent_prices_file": prices})
    await made.start_agent()
    yield made
    await made.stop()


def told(house: House, channel: str, word: str) -> list[str]:
    return [text for text in house.texts(channel) if word in text]


async def used(house: House, rest: str, sender: Sender, channel: str, text: str) -> str:
    """What `usage` says, once the answers are written down and it holds the text."""
    try:
        async with asyncio.timeout(10):
            while True:
                said = await house.command("usage", channel, sender=sender, rest=rest)
                if text in said:
                    return said
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{text!r} is not in {said!r}") from None


# ---- turns a day ----


async def test_turns_of_a_day(dear, wait):
    """Warned once at 80 %, refused after the last with when it renews and whom to ask; others go
    on, and the next day it begins anew."""
    await dear.start(bridge_person_turns_a_day=5)
    ada = await let_in(dear, ADA, "a0")
    for number in range(1, 6):
        await dear.say(f"say answer {number}", f"a{number}", sender=ADA)
        await dear.sees(f"answer {number}", f"a{number}")
    assert [len(told(dear, f"a{n}", "of your 5 turns")) for n in range(1, 6)] == [0, 0, 0, 1, 0]
    await dear.say("say never", "a6", sender=ADA)
    await dear.sees("Your 5 turns of today are used up. They renew at 00:00 UTC.", "a6")
    assert f"budget {ada} " in dear.texts("a6")[-1]
    await dear.say("say mine", "c1")
    await dear.sees("mine", "c1")
    assert "say never" not in dear.prompts()
    dear.clock.now += DAY / 2
    await dear.say("say tomorrow", "a6", sender=ADA)
    await dear.sees("tomorrow", "a6")


async def test_many_at_once_take_no_more(dear, wait):
    """Twenty messages at the same moment, in as many threads: five are taken."""
    await dear.start(bridge_person_turns_a_day=5)
    await dear.command("whoami")
    await asyncio.gather(*(dear.say(f"say {n}", f"c{n}") for n in range(20)))
    await wait(lambda: sum(len(told(dear, f"c{n}", "used up")) for n in range(20)) == 15)
    await wait(lambda: len(dear.prompts()) == 5)


async def test_two_nodes_never_pass_a_limit_together(dear):
    """Two bridges that count at the same time count each turn once."""
    await dear.start()
    first = second = dear.bridge.db
    if dear.database:
        first, second = database_at(dear.database), database_at(dear.database)
    ada = Person("p_ada", "Ada", "member", "w_ada")
    rules = Rules(turns=10)
    try:
        for db in (first, second) if dear.database else ():
            await db.open()
        nodes = [(db, Budgets(db, rules, Clock())) for db in (first, second)]
        taken = await asyncio.gather(
            *(db.tx(budgets.take, ada, f"t{n}{i}") for n in range(20)
              for i, (db, budgets) in enumerate(nodes))
        )  # fmt: skip
        assert sum(not one.refused for one in taken) == 10
        assert sum(bool(one.notice) for one in taken) == 1
        assert (await first.tx(nodes[0][1].turns, ada.id))[0] == 10
    finally:
        for db in (first, second) if dear.database else ():
            await db.close()


async def test_a_message_that_is_never_asked_is_no_turn(dear):
    """Empty ones, taken back ones and commands cost nothing; a retry is a turn."""
    await dear.start()
    await dear.say("say busy then hang")
    await dear.sees("busy")
    await dear.say("say queued")
    await dear.command("status")
    await dear.say("", "c2")
    await dear.sees("empty", "c2")
    assert "1 turns" in await dear.command("usage")


@pytest.fixture
async def town(home: Path, database: str) -> AsyncIterator[Town]:
    """An agent service and a bridge, each a process of its own."""
    made = Town(home, database)
    try:
        await made.start_agent()
        await made.start_bridge()
        yield made
    finally:
        await made.stop()


@pytest.mark.full
async def test_a_kill_counts_nothing_twice_and_loses_nothing(town, database):
    """Killed when the answer was paid for and nothing of its end was written down: one turn here,
    and the agent service's sum is that of each answer once."""
    for number in range(1, 4):
        await town.say("c1", f"say answer {number} then slow 1 and more of it", number)
        await town.posts.shows("c1", f"answer {number}")
        await town.kill_bridge()
        await town.start_bridge()
    await until(lambda: town.posts.finals() >= 3, 60)
    assert await town.kill_bridge(signal.SIGTERM) == 0
    db = database_at(database or f"sqlite:///{town.home / 'bridge' / 'bridge.db'}")
    await db.open()
    try:
        rows = await db.tx(lambda con: con.execute(sa.select(turns_taken)).all())
        asked = sa.select(sa.func.count()).select_from(message)
        assert [row.turns for row in rows] == [await db.tx(lambda con: con.scalar(asked))] == [3]
    finally:
        await db.close()
    await until(lambda: sorted(town.answers().values()) == [2, 2, 2])
    assert len(town.turns()) == 3


async def test_what_nothing_asks_for_any_more_is_forgotten(dear):
    """Counts and warnings after a year and a month, paces after a minute; nothing else."""
    await dear.start(bridge_person_turns_a_day=1, bridge_messages_a_minute=9)
    await let_in(dear, ADA, "a1")
    await dear.say("say x", "a1", sender=ADA)
    await dear.sees("x", "a1")
    budgets = Budgets(dear.bridge.db, Rules(), dear.clock)
    forget = Retention(dear.bridge.db, budgets, 30).forget

    async def left() -> list[int]:
        tables = (turns_taken, budget_warning, pace)
        counts = [sa.select(sa.func.count()).select_from(table) for table in tables]
        return await dear.bridge.db.tx(lambda con: [con.scalar(count) for count in counts])

    await forget()
    assert await left() == [1, 1, 1]
    dear.clock.now += 390 * DAY
    await forget()
    assert await left() == [1, 1, 0]
    dear.clock.now += 12 * DAY
    await forget()
    assert await left() == [0, 0, 0]


async def test_a_warning_is_of_one_turn(dear):
    """That turn may be shown again after a crash and warns again, by the same post; no other."""
    await dear.start()
    db = dear.bridge.db
    budgets = Budgets(db, Rules(), dear.clock)
    asked = [("t1", True), ("t2", False), ("t1", True)]
    for turn, warns in asked:
        assert await db.tx(budgets.warns, "p1", "usd", "2026-11-24", turn) is warns
    assert await db.tx(budgets.warns, "p1", "usd", "2026-11-25", "t2") is True


# ---- money ----


async def test_a_person_runs_out_of_money(dear):
    """In the middle of a turn: what was said stays, the end says when and whom; the next turn is
    refused at once, and once an admin gave more they go on."""
    await dear.start(bridge_person_usd_a_day=2)
    ada = await let_in(dear, ADA, "a1")
    await dear.say("say one\nsay two\nsay three", "a1", sender=ADA)
    await dear.sees("Your budget of today is used up.", "a1")
    assert "It renews at 00:00 UTC." in dear.texts("a1")[-1]
    assert f"budget {ada} 10 USD" in dear.texts("a1")[-1].replace("\\", "")
    assert any("two" in text for text in dear.texts("a1"))
    await dear.say("say four", "a2", sender=ADA)
    await dear.sees("Your budget of today is used up.", "a2")
    assert "three" not in " ".join(dear.texts("a1"))
    await dear.say("say mine", "c1")
    await dear.sees("mine", "c1")
    said = await dear.command("budget", rest=f"{ada} 10 USD")
    assert said.startswith("Ada may use a day: $10.00, any number of turns.")
    await dear.say("say more", "a3", sender=ADA)
    await dear.sees("more", "a3")
    assert not told(dear, "a3", "of your")


async def test_warned_once_at_most_of_it(dear, wait):
    """In the thread of the turn that crossed it, once, and after a restart not again."""
    await dear.start(bridge_person_usd_a_day=5)
    for number in range(1, 4):
        await dear.say(f"say answer {number}", f"c{number}")
        await dear.sees(f"answer {number}", f"c{number}")
    await dear.say("say fourth", "c4")
    await dear.sees("$4.00 of your $5.00 of today are used (80 %). They renew at 00:00 UTC.", "c4")
    await dear.quiet("c4")
    await dear.bridge.stop()
    await dear.start(bridge_person_usd_a_day=5)
    await dear.say("say fifth", "c5")
    await dear.sees("fifth", "c5")
    await dear.quiet("c5")
    assert [len(told(dear, f"c{n}", "of your")) for n in range(1, 6)] == [0, 0, 0, 1, 0]
    dear.clock.now += DAY
    await dear.say("say a\nsay b\nsay c\nsay d\nsay e", "c6")
    await dear.sees("That used up your $5.00 of today", "c6")


async def test_the_deployments_budget(dear):
    """Members hear of it when it is used up; admins once before, in their next turn, and in
    `usage`, and machines in /healthz."""
    await dear.start(bridge_deployment_usd_a_month=5)
    await let_in(dear, ADA, "a0")
    await dear.say("say a\nsay b\nsay c\nsay d", "a1", sender=ADA)
    await dear.sees("d", "a1")
    await dear.quiet("a1")
    assert not told(dear, "a1", "deployment")
    await used(dear, "", OWNER, "c1", "⚠ All together: $4.00 of $5.00 (80 %)")
    assert "All together" not in await dear.command("usage", "a1", sender=ADA)
    part = (await dear.bridge.parts())["budget"]
    assert (part.state, part.detail[:4]) == ("degraded", "80 %")
    await dear.say("say e", "c1")
    await dear.sees("$5.00 of the deployment's $5.00 of November are used (100 %).", "c1")
    assert "renews on 1 December (UTC)" in dear.texts("c1")[-1]
    for sender, channel in ((ADA, "a2"), (None, "c2")):
        await dear.say("say f", channel, **({"sender": sender} if sender else {}))
        await dear.sees("This deployment's budget of the month is used up", channel)
    said = await dear.command("budget", rest="deployment 10 USD")
    assert "All together may use a month: $10.00. It renews on 1 December" in said
    await dear.say("say g", "a3", sender=ADA)
    await dear.sees("g", "a3")


async def test_a_time_zone(dear):
    """A day ends at the deployment's midnight."""
    await dear.start(bridge_person_turns_a_day=1, bridge_timezone="Asia/Tokyo")
    dear.clock.now = datetime(2026, 11, 24, 14, 59, tzinfo=UTC).timestamp()
    await dear.say("say one")
    await dear.sees("one")
    await dear.say("say two")
    await dear.sees("They renew at 00:00 (Asia/Tokyo).")
    dear.clock.now += 61
    await dear.say("say three")
    await dear.sees("three")


# ---- commands ----


async def test_who_sets_what(dear):
    """Everybody sees their own; only admins see and set others', and each amount is explained."""
    await dear.start(bridge_person_usd_a_day=5, bridge_person_turns_a_day=50)
    ada, ben = await let_in(dear, ADA, "a1"), await let_in(dear, BEN, "b1")
    mine = await dear.command("budget", "a1", sender=ADA)
    assert "- 0 of 50 turns\n- $0.00 of $5.00 (0 %)" in mine
    for rest in (f"{ben}", f"{ben} 5 USD", f"{ada} 500 USD", "deployment", "deployment 1 USD"):
        assert "Only an admin" in await dear.command("budget", "a1", sender=ADA, rest=rest)
    ways = {
        f"{ada} 8 USD unlimited turns": "Ada may use a day: $8.00, any number of turns.",
        f"{ada} default": "Ada may use a day: $5.00, 50 turns.",
        f"{ada} 0 turns": "Ada may use a day: $5.00, 0 turns.",
        f"{ada}": "Ada may use a day: $5.00, 0 turns.",
        f"{ada} 5 EUR": "Write amounts like",
        "5 USD": "`budget` shows yours.",
        "@nobody 5 USD": "There is no such person here.",
        "deployment": "as much as they need",
        "deployment 5 turns": "is money",
        "deployment unlimited": "as much as they need",
    }
    for rest, said in ways.items():
        assert said in await dear.command("budget", rest=rest), rest
    await dear.say("say x", "a1", sender=ADA)
    await dear.sees("You have no turns today.", "a1")


async def test_usage(dear):
    """Today and the month, by model; for admins everybody's, the dearest first."""
    await dear.start(bridge_person_usd_a_day=10)
    await let_in(dear, ADA, "a1")
    dear.clock.now -= DAY
    await dear.say("say one", "a1", sender=ADA)
    await dear.sees("one", "a1")
    dear.clock.now += DAY
    await dear.command("model", "a2", sender=ADA, rest="big")
    await dear.say("say two\nsay three", "a2", sender=ADA)
    await dear.sees("three", "a2")

    mine = await used(dear, "", ADA, "a1", "- 1 turns\n- $2.00 of $10.00 (20 %)")
    assert "**November**\n\n- 2 turns\n- $3.00" in mine
    assert re.search(r"- `big`: \$2\.00, .* tokens\n- `scripted`: \$1\.00", mine)
    assert len(mine) < 600
    await dear.say("say x", "c1")
    await dear.sees("x", "c1")
    everybody = await used(dear, "all", OWNER, "c1", "2. Olga: $1.00, 1 turns")
    assert everybody.startswith("All together: $4.00 in November.\n\n1. Ada: $3.00, 2 turns")
    assert "Only an admin" in await dear.command("usage", "a1", sender=ADA, rest="all")
    dear.clock.now += 30 * DAY
    assert "$0.00" in await used(dear, "", ADA, "a1", "**December**\n\n- 0 turns")


async def test_usage_without_the_agent_service(dear):
    """It says so, and what to do."""
    await dear.start()
    await dear.command("whoami")
    await dear.stop_agent()
    assert "not reachable" in await dear.command("usage")
    await dear.start_agent()


# ---- pace ----


async def test_who_writes_too_fast(dear, wait):
    """What is too much is refused with a word for its writer alone, once; what was taken is
    answered, deliveries that come again count nothing, others notice nothing, and a moment later
    there is room again."""
    await dear.start(bridge_messages_a_minute=3)
    await let_in(dear, ADA, "a1")
    for number in range(1, 4):
        for _ in range(2):
            await dear.say(f"say answer {number}", "a1", sender=ADA, key=f"m{number}")
    for number in range(4, 8):
        said = await dear.say(f"say never {number}", "a1", sender=ADA, key=f"m{number}")
        assert said.outcome == "stored"
    await dear.sees("3 a minute are the most of one person. Write it again in 20 s", "a1")
    await dear.say("say mine", "c1")
    await dear.sees("mine", "c1")
    await dear.sees("answer 3", "a1")
    assert (await dear.say("say never 4", "a1", sender=ADA, key="m4")).outcome == "duplicate"
    [word] = [m for m in dear.platform.shown() if "a minute" in m.markdown]
    assert word.only_for == ADA.identity
    assert dear.platform.marks["m7"] == "failed"
    dear.clock.now += 20
    await dear.say("say again", "a1", sender=ADA)
    await dear.sees("again", "a1")
    await dear.say("say never", "a1", sender=ADA)
    assert len(dear.prompts()) == 5
    assert len(told(dear, "a1", "a minute")) == 1


async def test_commands_have_a_pace_and_stop_has_none(dear):
    """However fast somebody writes, what runs can be stopped."""
    await dear.start(bridge_commands_a_minute=4)
    await let_in(dear, ADA, "a1")
    await dear.say("say busy then hang", "a1", sender=ADA)
    await dear.sees("busy", "a1")
    said = [await dear.command("status", "a1", sender=ADA) for _ in range(5)]
    assert ["working" in one for one in said] == [True, True, True, False, False]
    assert "Write it again in 15 s" in said[3]
    assert "Stopping" in await dear.command("stop", "a1", sender=ADA)
    await dear.sees("Stopped.", "a1")
    await dear.quiet("a1")
    dear.clock.now += 60
    assert "Nothing" in await dear.command("status", "a1", sender=ADA)


async def test_a_clock_that_goes_back_locks_nobody_out(dear):
    """At most for a minute."""
    await dear.start(bridge_messages_a_minute=1)
    await let_in(dear, ADA, "a1")
    await dear.say("say one", "a1", sender=ADA)
    await dear.sees("one", "a1")
    dear.clock.now -= 365 * DAY
    await dear.say("say never", "a2", sender=ADA)
    dear.clock.now += 61
    await dear.say("say two", "a3", sender=ADA)
    await dear.sees("two", "a3")


async def test_the_owner_of_the_machine_has_no_pace(dear):
    """What they pipe into the terminal is taken, however much it is."""
    await dear.start(bridge_messages_a_minute=1, bridge_commands_a_minute=1)
    for number in range(4):
        await dear.say(f"say answer {number}", f"c{number}")
        assert "not taken" not in await dear.command("status", f"c{number}")
        await dear.sees(f"answer {number}", f"c{number}")


async def test_a_strangers_pace_is_their_own(dear, wait):
    """Each account that is nobody's by itself; what is too much is kept nowhere."""
    await dear.start(bridge_messages_a_minute=2)
    for number in range(6):
        await dear.say("say x", "s1", sender=STRANGER, key=f"s{number}")
    await dear.say("say x", "a1", sender=ADA)
    await dear.sees("not let in yet", "a1")
    await wait(lambda: len(told(dear, "s1", "not let in yet")) == 2)
    await dear.sees("2 a minute", "s1")
    count = sa.select(sa.func.count()).select_from(message)
    assert await dear.bridge.db.tx(lambda con: con.scalar(count)) == 3
