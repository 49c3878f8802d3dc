"""What was used, told by day, person, model and turn."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.agent_service.agent import Agent, Turn

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def usage_of(agent: Agent, turn_id: str) -> dict[str, object]:
    """The turn's usage, once it is written."""
    async with asyncio.timeout(10):
        while True:
            status, found = await agent.caller.call("GET", f"/v1/turns/{turn_id}/usage")
            assert status == 200
            if found["answers"]:
                return dict(found)
            await asyncio.sleep(0.02)


async def test_each_turn_knows_what_it_used(shared: Agent) -> None:
    """Tokens are those of the answers that passed, and money follows from them."""
    first = await usage_of(shared, (await shared.turn("say hello")).id)
    turn = await shared.turn("run ls\nrun pwd\nsay done")
    second = await usage_of(shared, turn.id)
    assert first["answers"] == 1
    assert second["answers"] == 3
    assert first["input_tokens"] > 100
    assert 0 < first["cost_usd"] < second["cost_usd"]


async def test_usage_is_told_by_day_person_and_model(shared: Agent) -> None:
    """Two people's turns in one conversation are told apart."""
    other = {"person": "p2", "name": "Bob"}
    turn = await shared.turn("say hello", asker=other, conversation="c-usage")
    mine = await shared.turn("say hello", conversation="c-usage")
    await usage_of(shared, turn.id)
    await usage_of(shared, mine.id)
    status, lines = await shared.caller.call("GET", "/v1/usage")
    assert status == 200
    by_person = {line["person"]: line for line in lines}
    assert set(by_person) == {"p1", "p2"}
    assert by_person["p2"]["answers"] == 1
    assert by_person["p2"]["day"] == time.strftime("%Y-%m-%d", time.gmtime())
    status, lines = await shared.caller.call("GET", f"/v1/usage?since={int(time.time()) + 60}")
    assert (status, lines) == (200, [])


async def test_a_decision_is_charged_to_its_turn(shared: Agent) -> None:
    """What a turn uses after its answer, in a new process, is still its own."""
    turn = await shared.turn("bash touch charged.txt", conversation="c-charged")
    before = await usage_of(shared, turn.id)
    await shared.decided(turn, "allow")
    async with asyncio.timeout(10):
        while (await usage_of(shared, turn.id))["answers"] <= before["answers"]:
            await asyncio.sleep(0.02)


def told(*turns: Turn) -> float:
    """US dollars, as the events of a turn tell them."""
    return sum(e["cost_usd"] for turn in turns for e in turn.events if e["kind"] == "usage")


@pytest.mark.parametrize("over", ["closed", "a decision", "a denial"])
async def test_a_resume_counts_nothing_again(shared: Agent, over: str) -> None:
    """What a turn's events say that it cost is what the broker counted for it, also where its
    process is a new one: the CLI's own sum begins with all that the conversation ever cost."""
    conversation = f"c-again-{over.replace(' ', '-')}"
    for _ in range(3):
        turn = await shared.turn("long 200", conversation=conversation)
    if over == "closed":
        await shared.caller.call("POST", f"/v1/conversations/{conversation}/close")
        parts = [await shared.turn("say hello", conversation=conversation)]
    else:
        first = await shared.turn("run touch again.txt", conversation=conversation)
        parts = [first, await shared.decided(first, "allow" if over == "a decision" else "deny")]
    assert parts[-1].last["outcome"] == "completed"
    answers = 1 if over == "closed" else 2
    async with asyncio.timeout(10):
        while (used := await usage_of(shared, parts[0].id))["answers"] < answers:
            await asyncio.sleep(0.02)
    assert told(*parts) == pytest.approx(used["cost_usd"])
    assert told(*parts) > 0
    assert told(turn) > 0


async def test_usage_of_no_turn(shared: Agent) -> None:
    """An unknown turn is not found, and bad numbers are refused."""
    status, _ = await shared.caller.call("GET", "/v1/turns/nobody/usage")
    assert status == 404
    status, _ = await shared.caller.call("GET", "/v1/usage?since=yesterday")
    assert status == 400
