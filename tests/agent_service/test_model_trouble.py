"""A model that refuses, fails, hangs up or is not there: the turn says so, the next one works."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from pathlib import Path

import pytest

from agent_service.contract.events import REASONS
from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Agent, Turn
from tests.agent_service.process import ProcessAgent

pytestmark = pytest.mark.asyncio(loop_scope="module")


def failed(turn: Turn, reason: str) -> None:
    """The turn failed for this reason, and tells a person what happened and what to do."""
    last = turn.last
    assert (last["kind"], last["outcome"], last["reason"]) == ("turn.finished", "failed", reason)
    assert reason in REASONS
    assert last["message"]
    assert last["remedy"]


TROUBLE = [
    ("error 400", "model_error"),
    ("error 401", "authentication"),
    ("error 403", "authentication"),
    ("error 404", "model_error"),
    ("error 413", "model_error"),
    ("error 429", "model_overloaded"),
    ("error 500", "model_error"),
    ("error 529", "model_overloaded"),
    ("drop", "model_unreachable"),
    ("malformed", "model_error"),
]


@pytest.mark.parametrize(("script", "reason"), TROUBLE)
async def test_trouble_ends_the_turn_with_its_reason(
    shared: Agent, script: str, reason: str
) -> None:
    """Each kind of trouble ends the turn with its own reason, and the next one works."""
    conversation = "c-" + script.replace(" ", "-")
    turn = await shared.turn(script, conversation=conversation)
    failed(turn, reason)
    after = await shared.turn("say back again", conversation=conversation)
    assert after.last["outcome"] == "completed", after.last
    assert "back again" in after.text


@pytest.mark.parametrize("script", ["error 529 once", "error 500 once", "drop once"])
async def test_passing_trouble_is_told_and_passes(shared: Agent, script: str) -> None:
    """What a retry overcomes does not end the turn, and the person learns why it took longer."""
    turn = await shared.turn(script, conversation="c-" + script.replace(" ", "-"))
    assert turn.last["outcome"] == "completed", turn.last
    assert "trying again" in next(e["text"] for e in turn.events if e["kind"] == "notice")


async def test_a_model_that_hangs_can_be_stopped(shared: Agent) -> None:
    """A turn whose model never answers stops when somebody says so, and the next one works."""
    before = len(shared.model.requests)
    turn_id = await shared.put("hang", conversation="c-hang")
    async with asyncio.timeout(30):
        while not any(_hangs(request.body) for request in list(shared.model.requests)[before:]):
            await asyncio.sleep(0.02)
    status, view = await shared.caller.call("POST", f"/v1/turns/{turn_id}/interrupt", {"by": "Ann"})
    assert (status, view["state"], view["outcome"]) == (200, "finished", "interrupted")
    last = (await shared.caller.events(turn_id))[-1][1]
    assert (last["reason"], last["message"]) == ("stopped", "Stopped by Ann.")
    assert (await shared.turn("say awake", conversation="c-hang")).text == "awake"


def _hangs(body: object) -> bool:
    return '"hang"' in json.dumps(body)


async def test_a_model_that_hangs_meets_the_time_limit(shared: Agent) -> None:
    """Nobody has to stop it: the turn's own limit does."""
    limits = {"seconds": 1, "steps": 5}
    turn = await shared.turn("hang", conversation="c-hang-limit", limits=limits)
    assert (turn.last["outcome"], turn.last["reason"]) == ("timed_out", "time_limit")


@pytest.mark.asyncio(loop_scope="function")
async def test_an_unreachable_model_is_told(home: Path, model: ScriptedMessages) -> None:
    """Where nothing listens, the turn fails by itself within the retries that were set."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    agent = Agent(home, model, agent_upstream_url=f"http://127.0.0.1:{port}")
    await agent.start()
    try:
        turn = await agent.turn("say anything")
        failed(turn, "model_unreachable")
        assert "AGENT_UPSTREAM_URL" in turn.last["remedy"]
    finally:
        await agent.stop()


WRONG = "quite-the-wrong-key-0451"
RIGHT = "the-right-key-of-this-test"


def everything_stored(home: Path) -> str:
    """Every row of every table, and all that was logged."""
    with sqlite3.connect(home / "agent" / "agent.db") as db:
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        rows = [db.execute(f'SELECT * FROM "{table}"').fetchall() for table in tables]
    db.close()
    return repr(rows) + (home / "service.log").read_text()


@pytest.mark.asyncio(loop_scope="function")
async def test_a_wrong_key_is_told_and_shown_nowhere(home: Path) -> None:
    """A refused key is told as that; the key is in no event, log line or row."""
    async with ScriptedMessages(api_key=RIGHT) as model:
        agent = ProcessAgent(home, model, agent_api_key=WRONG, log_level="debug")
        await agent.start()
        turn = await agent.turn("say anything")
        await agent.stop()
    failed(turn, "authentication")
    assert "AGENT_API_KEY" in turn.last["remedy"]
    assert WRONG in [r.headers.get("x-api-key") for r in model.requests]
    assert WRONG not in json.dumps(turn.events) + everything_stored(home)


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize("sandbox", ["required", "off"])
async def test_no_command_prints_a_key(home: Path, sandbox: str) -> None:
    """No process of a session holds the key; the token it holds instead is hidden, too."""
    async with ScriptedMessages(api_key=RIGHT) as model:
        agent = ProcessAgent(
            home, model, agent_api_key=RIGHT, log_level="debug", agent_sandbox=sandbox
        )
        await agent.start()
        asked = await agent.turn(
            "bash cat /proc/$PPID/environ | tr '\\0' '\\n' | grep -a ^ANTHROPIC"
        )
        told = await agent.decided(asked, "allow")
        await agent.stop()
    assert told.last["outcome"] == "completed"
    assert "ANTHROPIC_AUTH_TOKEN=[hidden]" in told.results()[0][1]
    assert "bsct-" not in json.dumps([asked.events, told.events]) + everything_stored(home)
    assert RIGHT not in json.dumps([asked.events, told.events]) + everything_stored(home)
