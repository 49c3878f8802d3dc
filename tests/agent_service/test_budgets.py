"""Budgets of turns: periods, what counts, refusals before and within a turn, the sums."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from agent_service.broker.broker import Answered
from agent_service.broker.ledger import Ledger
from agent_service.broker.meter import Tokens
from agent_service.broker.tokens import Grant
from agent_service.contract import Budget, span
from agent_service.store.database import Database
from agent_service.testing import ScriptedMessages
from agent_service.testing.scripted_service import scripted_service
from tests.agent_service.agent import Agent, ScriptedAgent, Turn

ZONES = ["UTC", *sorted(available_timezones() - {"localtime"})]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()


# ---- periods ----


@given(
    st.sampled_from(["day", "month"]),
    st.sampled_from(ZONES),
    st.floats(0, 4e9, allow_nan=False),
)
def test_periods_follow_each_other(period: str, name: str, now: float) -> None:
    """Every moment is in exactly one period; where one ends the next begins."""
    start, end = span(period, name, now)
    assert start <= now < end
    assert span(period, name, end)[0] == end
    assert span(period, name, start) == (start, end)


def test_a_day_is_one_by_the_clock_on_the_wall() -> None:
    """The day on which the clocks go back is an hour longer."""
    sunday = datetime(2026, 10, 25, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    start, end = span("day", "Europe/Berlin", sunday)
    assert end - start == 25 * 3600
    month = span("month", "UTC", NOON)
    assert month == tuple(datetime(2026, m, 1, tzinfo=UTC).timestamp() for m in (11, 12))


@pytest.mark.parametrize("wrong", [{"usd": -1.0}, {"usd": float("nan")}, {"time_zone": "../etc"}])
def test_a_wrong_budget_is_none(wrong: dict[str, Any]) -> None:
    """No negative money, and no time zone that is not one."""
    with pytest.raises(ValueError, match=r"budget is|no time zone"):
        Budget(**{"whose": "person", "usd": 1.0, "period": "day", **wrong})


# ---- turns ----


class Clocked(ScriptedAgent):
    """Each step of a script costs a dollar, and the day is what the test says."""

    now = NOON

    def made(self) -> Any:
        return scripted_service(self.settings, clock=lambda: self.now)

    async def restart(self) -> None:
        await self.stop()
        await self.start()


@pytest_asyncio.fixture
async def dear(home: Path) -> AsyncIterator[Clocked]:
    prices = home / "prices.json"
    prices.write_text(json.dumps({"*": {"input": 0, "output": 1e6}}))
    made = Clocked(home, agent_prices_file=prices)
    await made.start()
    yield made
    await made.stop()


def day(usd: float) -> list[dict[str, Any]]:
    return [{"whose": "person", "usd": usd, "period": "day", "time_zone": "UTC"}]


def month(usd: float) -> list[dict[str, Any]]:
    return [{"whose": "deployment", "usd": usd, "period": "month"}]


def end(turn: Turn) -> tuple[str, str]:
    return turn.last["outcome"], turn.last["reason"]


def told(turn: Turn) -> list[tuple[str, float]]:
    return [(e["whose"], e["used_usd"]) for e in turn.events if e["kind"] == "budget.used"]


async def test_a_turn_ends_where_its_budget_does(dear: Clocked) -> None:
    """In the middle: what was said stays, and the end says whose budget it is."""
    turn = await dear.turn("say one\nsay two\nsay three", budgets=day(2))
    assert [e["text"] for e in turn.events if e["kind"] == "text"] == ["one", "two"]
    assert end(turn) == ("over_budget", "person_budget")
    assert told(turn) == [("person", 2.0)]
    assert sum(e["cost_usd"] for e in turn.events if e["kind"] == "usage") == 2.0


async def test_no_turn_begins_without_money(dear: Clocked) -> None:
    """The next one ends at once, in another conversation too; somebody else's goes on."""
    await dear.turn("say one", budgets=day(1))
    turn = await dear.turn("say two", conversation="c2", budgets=day(1))
    assert end(turn) == ("over_budget", "person_budget")
    assert "turn.started" not in [e["kind"] for e in turn.events]
    other = await dear.turn("say x", conversation="c3", asker={"person": "p2"}, budgets=day(1))
    assert end(other)[0] == "completed"
    both = [*day(9), *month(2)]
    last = await dear.turn("say y", conversation="c4", asker={"person": "p3"}, budgets=both)
    assert end(last) == ("over_budget", "deployment_budget")


async def test_most_of_a_budget_is_told(dear: Clocked) -> None:
    """From 80 % on every turn's end says so, and below none does."""
    turns = [await dear.turn("say x", budgets=day(5)) for _ in range(5)]
    assert [told(turn) for turn in turns] == [[], [], [], [("person", 4.0)], [("person", 5.0)]]


async def test_the_next_day_there_is_a_new_budget(dear: Clocked) -> None:
    """Also for a turn that was asked for the day before, and waits for a decision."""
    waiting = await dear.turn("bash git push then say pushed", budgets=day(2))
    await dear.turn("say x\nsay y", conversation="c2", budgets=day(2))
    assert end(await dear.turn("say z", conversation="c2", budgets=day(2)))[0] == "over_budget"
    dear.now += 12 * 3600 + 1
    done = await dear.decided(waiting, "allow")
    assert end(done) == ("completed", "")
    assert end(await dear.turn("say z", conversation="c2", budgets=day(3)))[0] == "completed"


async def test_a_restart_forgets_nothing(dear: Clocked) -> None:
    """What was used before it counts as before, once."""
    await dear.turn("say one\nsay two", budgets=day(3))
    await dear.restart()
    turn = await dear.turn("say three\nsay four", budgets=day(3))
    assert end(turn) == ("over_budget", "person_budget")
    assert told(turn) == [("person", 3.0)]


async def test_a_budget_that_comes_later_counts_what_was(dear: Clocked) -> None:
    """Somebody gets a budget in the middle of the day, and then a larger one."""
    await dear.turn("say one\nsay two")
    assert end(await dear.turn("say three", budgets=day(2)))[0] == "over_budget"
    assert end(await dear.turn("say three", budgets=day(3)))[0] == "completed"


@pytest.mark.parametrize("wrong", [{"usd": -1.0}, {"time_zone": "Mars/Base"}, {"period": "year"}])
async def test_a_wrong_budget_is_refused(dear: Clocked, wrong: dict[str, Any]) -> None:
    """With an answer that names the field."""
    body = dear.request("say x", budgets=[{**day(1)[0], **wrong}])
    status, answer = await dear.caller.call("PUT", "/v1/turns/t_1", body)
    assert status == 400
    assert answer["error"]["message"].startswith("budgets.0")


# ---- sums ----


async def test_sums_by_person_and_model(dear: Clocked) -> None:
    """The dearest first, each with turns and money; and of one person alone."""
    await dear.turn("say one")
    for _ in range(2):
        await dear.turn("say one\nsay two", asker={"person": "p2"}, model="big", conversation="c2")

    async def sums(query: str, answers: int) -> list[tuple[Any, ...]]:
        async with asyncio.timeout(10):
            while True:
                status, found = await dear.caller.call("GET", f"/v1/usage/sums?{query}")
                assert status == 200
                if sum(s["answers"] for s in found) == answers:
                    return [(s["name"], s["turns"], s["cost_usd"], s["own_usd"]) for s in found]
                await asyncio.sleep(0.02)

    assert await sums("by=person", 5) == [("p2", 2, 4.0, 0.0), ("p1", 1, 1.0, 0.0)]
    assert await sums("by=model", 5) == [("big", 2, 4.0, 0.0), ("scripted", 1, 1.0, 0.0)]
    assert await sums("by=model&person=p1", 1) == [("scripted", 1, 1.0, 0.0)]
    assert await sums(f"since={int(dear.now) + 1}", 0) == []
    for wrong in ("by=day", "person=../x", "by=model&by=person"):
        assert (await dear.caller.call("GET", f"/v1/usage/sums?{wrong}"))[0] == 400


async def test_nothing_is_missed_between_memory_and_disk(tmp_path: Path) -> None:
    """Whenever it is asked, the ledger's sum is that of all answers so far, written or not."""
    database = Database(tmp_path / "agent.db")
    await database.open()
    ledger = Ledger(database, lambda: NOON)
    answer = Answered(Grant("s", "c", "w"), "t", "p1", "k", "m", Tokens(output=1), 1.0)
    total = 0

    async def answers() -> None:
        nonlocal total
        for _ in range(200):
            ledger.add(answer)
            total += 1
            await asyncio.sleep(0)

    async def asks() -> None:
        while total < 200:
            found = await ledger.used("p1", NOON - 1)
            assert found == total

    await asyncio.gather(answers(), *(asks() for _ in range(3)))
    assert await ledger.used(None, NOON - 1) == total
    assert await ledger.used("p2", NOON - 1) == 0
    assert await ledger.used("p1", NOON + 1) == 0
    await ledger.close()
    await database.close()


async def test_turns_at_once_cross_a_budget_once(dear: Clocked) -> None:
    """Four turns of one person together spend it, and at most one answer more."""
    turns = await asyncio.gather(
        *(dear.turn("say a\nsay b", conversation=f"c{n}", budgets=day(3)) for n in range(4))
    )
    assert sum(e["cost_usd"] for t in turns for e in t.events if e["kind"] == "usage") == 3
    assert {end(turn)[0] for turn in turns} == {"completed", "over_budget"}


# ---- the real CLI ----


async def test_the_real_agent_is_stopped_by_the_broker(home: Path, model: ScriptedMessages) -> None:
    """Its next request is refused, the turn ends with the budget's words, and what the events say
    it cost is what was counted."""
    prices = home / "prices.json"
    prices.write_text(json.dumps({"*": {"input": 0, "output": 1e6, "cache_write": 0}}))
    agent = Agent(home, model, agent_prices_file=prices)
    await agent.start()
    try:
        turn = await agent.turn("run ls\nrun pwd\nsay done", budgets=[*day(1), *month(1e6)])
        assert end(turn) == ("over_budget", "person_budget")
        assert len(turn.results()) == 1
        assert told(turn)[0][0] == "person"
        spent = sum(e["cost_usd"] for e in turn.events if e["kind"] == "usage")
        assert told(turn) == [("person", pytest.approx(spent))]
        again = await agent.turn("say more", budgets=[*day(1), *month(1e6)])
        assert end(again) == ("over_budget", "person_budget")
        assert end(await agent.turn("say more", budgets=day(1e6))) == ("completed", "")
    finally:
        await agent.stop()
