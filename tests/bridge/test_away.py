"""What can only be waited for: it holds nothing meanwhile, is not given up, and goes on."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from agent_service.contract import errors
from bridge.engine.turn import REACHABLE, UNREACHABLE
from bridge.people.deciders import Deciders
from bridge.store.schema import conversation, decider, message
from tests.bridge.house import until
from tests.bridge.test_people import ADA, let_in

POSTGRES_TOO = "quick"
BEHIND = "This starts when the question before it in this conversation is answered."
ASK = "run rm -r build then say It went on."


async def stands(house, column, channel="c1"):
    """That column of a place's newest message, or of the place itself."""
    query = (
        sa.select(column)
        .select_from(message.join(conversation, conversation.c.id == message.c.conversation))
        .where(conversation.c.channel == channel)
        .order_by(message.c.id.desc())
    )
    return await house.bridge.db.tx(lambda con: con.scalar(query.limit(1)))


async def at_once(house) -> None:
    """Nobody waits for the pause to be over."""
    ready = conversation.update().values(ready_at=0.0)
    await house.bridge.db.tx(lambda con: con.execute(ready).rowcount)
    house.bridge._workers.wake_ready()


async def put_off(house, channel="c1") -> None:
    """The message was given back, and is open."""
    await until(lambda: not house.bridge._workers._held)
    assert await stands(house, message.c.done_at, channel) is None


async def test_an_agent_service_that_stays_away_in_mid_turn(house):
    """Away for longer than the bridge's patience: the thread is told once, no Retry is offered for
    a turn that may be running, and its answer is shown, once, when the service is back."""
    await house.start(bridge_agent_patience_seconds=0.3)
    await house.say("say working then think 1 then say finished", key="asked")
    await house.sees("working")
    await house.agent.stop()
    await house.sees(UNREACHABLE)
    for _ in range(2):
        await put_off(house)
        await at_once(house)
        await until(lambda: house.bridge._workers._held)
    await put_off(house)
    assert house.texts() == ["working", UNREACHABLE]
    assert house.choices() == []
    await house.agent.start()
    await at_once(house)
    await house.sees("finished")
    await until(lambda: house.platform.marks["asked"] == "done")
    assert house.prompts() == ["say working then think 1 then say finished"]
    assert house.texts() == ["working\n\nfinished", REACHABLE]


async def test_a_stop_while_the_agent_service_is_away(house):
    """It is not forgotten: the turn ends as soon as the service can be told."""
    await house.start(bridge_agent_patience_seconds=0.3)
    await house.say("say working then hang")
    await house.sees("working")
    await house.agent.stop()
    await house.sees(UNREACHABLE)
    await put_off(house)
    assert "Stopping the turn." in await house.command("stop")
    await house.agent.start()
    await at_once(house)
    await house.sees("Stopped.")
    assert house.agent.open == {}


async def test_a_turn_behind_a_question_elsewhere(house):
    """A conversation that goes on here while its question waits elsewhere holds no place and no
    lease, says why nothing happens, and goes on once the question is answered."""
    await house.start(bridge_concurrency=1)
    await house.say(ASK, "c1")
    [allow, *_] = await house.card("c1")
    assert "goes on with" in await house.command("continue", "c2", rest="1")
    await house.say("say other", "c2")
    await house.sees(BEHIND, "c2")
    await put_off(house, "c2")
    assert "waits for a decision" in await house.command("status", "c2")
    await house.say("say mine", "c3")
    await house.sees("mine", "c3")
    await at_once(house)
    await put_off(house, "c2")
    await house.click(allow, "c1")
    await house.sees("It went on.", "c1")
    await at_once(house)
    await house.sees("other", "c2")
    assert house.texts("c2") == [BEHIND, "other"]
    house.agent.overlaps = 0  # both were put at the same time; the service keeps them apart


async def test_what_waits_behind_a_question_can_be_stopped(house):
    """It is over at once, and the question still waits."""
    await house.start()
    await house.say(ASK, "c1")
    await house.card("c1")
    await house.command("continue", "c2", rest="1")
    await house.say("say other", "c2")
    await house.sees(BEHIND, "c2")
    await put_off(house, "c2")
    await house.command("stop", "c2")
    await at_once(house)
    await house.sees("Stopped.", "c2")
    assert "waits for a decision" in await house.command("status", "c1")
    house.agent.overlaps = 0


async def test_a_waiting_turn_that_went_on_unheard(house):
    """Where nobody heard that a waiting turn went on, the sweep finds it, and leaves alone what
    still waits."""
    await house.start()
    await house.say(ASK)
    await house.card()
    workers = house.bridge._workers
    await until(lambda: not workers._looks)
    [feed] = [task for task in house.bridge._tasks if task.get_name() == "feed"]
    feed.cancel()
    await asyncio.gather(feed, return_exceptions=True)
    await house.bridge._sweep.look()
    turn = await stands(house, message.c.turn_id)
    assert await stands(house, conversation.c.waiting_turn) == turn
    await house.decide_elsewhere("allow")
    assert await stands(house, conversation.c.waiting_turn) == turn
    await house.bridge._sweep.look()
    await house.sees("It went on.")


async def test_a_decider_who_is_removed_while_the_agent_service_is_away(house):
    """Whoever removes them is told that it holds and when the agent hears of it; the next turn
    tells it, on a node that had told the longer list before; and so does the sweep."""
    await house.start()
    ada = await let_in(house, ADA, "a1")
    await house.command("deciders", rest=f"add {ada}")
    await house.say("say hi")
    await house.sees("hi")
    body = house.agent.bodies()[-1]
    workspace, owner = body["workspace"], body["asker"]["person"]
    db, client = house.bridge.db, house.client()
    elsewhere = Deciders(db, client)
    await elsewhere.tell(workspace, owner)

    async def known() -> tuple[str, ...]:
        return tuple((await client.policy(f"/v1/workspaces/{workspace}")).deciders)

    assert set(await known()) == {owner, ada}
    await house.agent.stop()
    told = await house.command("deciders", rest=f"remove {ada}")
    assert "The change is stored and holds" in told
    assert "agent service does not answer" in told
    await house.agent.start()
    assert set(await known()) == {owner, ada}
    await elsewhere.tell(workspace, owner)
    assert await known() == (owner,)
    await house.agent.stop()
    assert "is stored and holds" in await house.command("deciders", rest=f"add {ada}")
    await house.agent.start()
    await house.bridge._sweep.look()
    assert set(await known()) == {owner, ada}
    gone = decider.delete()
    await db.tx(lambda con: con.execute(gone).rowcount)
    await elsewhere.tell(workspace, owner)
    assert await known() == (owner,)
    await client.close()


async def test_a_change_that_is_refused_is_no_change_that_waits(house):
    """Only an agent service that is away hears of it later; its refusal is told as it is."""

    class Refusing:
        async def set_deciders(self, workspace, people, by):
            raise errors.BadRequest("No such workspace.")

    await house.start()
    told = Deciders(house.bridge.db, Refusing())
    with pytest.raises(errors.BadRequest, match="No such workspace"):
        await told.changed("w_1", "p_1")
