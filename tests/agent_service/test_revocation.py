"""Revocation through the whole service: running agents of the real CLI end, and stay ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from tests.agent_service.agent import Agent, Caller, Turn, session_processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent_service.testing import ScriptedMessages


class Admin:
    """An agent service with its admin."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.caller = Caller(agent.home, "admin")

    async def post(self, path: str, **body: Any) -> Any:
        status, answer = await self.caller.call("POST", path, body)
        assert status == 200, answer
        return answer

    async def running(self, conversation: str, person: str = "p1") -> str:
        """A turn that streams, once its first word is there."""
        asker = {"person": person, "name": person}
        turn_id = await self.agent.put(
            "slow 60 one two three four five six", conversation=conversation, asker=asker
        )
        async for _, event in self.agent.caller.stream(f"/v1/turns/{turn_id}/events"):
            if event["kind"] == "text.delta":
                break
        return turn_id

    async def end_of(self, turn_id: str) -> Turn:
        return Turn(turn_id, await self.agent.caller.events(turn_id))


@pytest_asyncio.fixture
async def admin(agent: Agent) -> AsyncIterator[Admin]:
    made = Admin(agent)
    yield made
    await made.caller.http.close()


async def test_everything_ends_at_once(admin: Admin) -> None:
    """Every running and idle session ends, people are told why, and no process is left."""
    await admin.agent.turn("say hello", conversation="idle")
    turns = [await admin.running(f"c{n}") for n in range(2)]
    assert session_processes(admin.agent.home)
    revoked = await admin.post("/v1/revocations", scope="everything", by="ann")
    assert session_processes(admin.agent.home) == []
    steps = {step["name"]: step["state"] for step in revoked["steps"]}
    assert steps["tokens"] == steps["sessions"] == steps["keys"] == "done", revoked
    for turn_id in turns:
        last = (await admin.end_of(turn_id)).last
        assert (last["outcome"], last["reason"]) == ("failed", "revoked")
        assert last["message"]
        assert last["remedy"]
    after = await admin.agent.turn("say hello", conversation="idle")
    assert (after.last["outcome"], after.last["reason"]) == ("failed", "revoked")


async def test_it_is_lifted(admin: Admin) -> None:
    """After the admin lifts it, the next message works and the history is still there."""
    await admin.agent.turn("my name is Wilhelmina")
    revoked = await admin.post("/v1/revocations", scope="everything", by="ann")
    assert (await admin.agent.turn("say hello")).last["reason"] == "revoked"
    await admin.post(f"/v1/revocations/{revoked['id']}/lift", by="ann")
    assert "Wilhelmina" in (await admin.agent.turn("what is my name")).text


async def test_one_person_only(admin: Admin) -> None:
    """Who is not meant works on, undisturbed."""
    mine = await admin.running("c-mine", "p1")
    other = await admin.running("c-other", "p2")
    await admin.post("/v1/revocations", scope="person", subject="p1", by="ann")
    assert (await admin.end_of(mine)).last["reason"] == "revoked"
    _, view = await admin.agent.caller.call("GET", f"/v1/turns/{other}")
    assert view["state"] == "running"
    await admin.agent.caller.call("POST", f"/v1/turns/{other}/interrupt", {"by": "Bob"})
    await asyncio.wait_for(admin.end_of(other), 20)


async def test_what_waited_for_an_answer_does_not_run_for_who_was_revoked(admin: Admin) -> None:
    """A call that is allowed after its asker was revoked, or everything was, is not let go; once
    that is lifted the conversation goes on."""
    await admin.agent.deciders("p1", "p2")
    for scope, subject in (("person", "p1"), ("everything", "")):
        turn = await admin.agent.turn(f"bash touch {scope}.txt", conversation=f"c-{scope}")
        revoked = await admin.post("/v1/revocations", scope=scope, subject=subject, by="ann")
        ended = await admin.agent.decided(turn, "allow", decided_by="p2")
        assert ended.last["reason"] == "revoked"
        assert not list(admin.agent.home.rglob(f"{scope}.txt"))
        await admin.post(f"/v1/revocations/{revoked['id']}/lift", by="ann")
        after = await admin.agent.turn("say hello", conversation=f"c-{scope}")
        assert after.last["outcome"] == "completed"


async def test_a_session_that_is_being_opened_is_not_missed(admin: Admin) -> None:
    """Revoked and lifted while it started: its turn ends, and the next one works."""
    turn_id = await admin.agent.put("say hello")
    async with asyncio.timeout(20):
        while not session_processes(admin.agent.home):
            await asyncio.sleep(0.01)
    revoked = await admin.post("/v1/revocations", scope="everything", by="ann")
    await admin.post(f"/v1/revocations/{revoked['id']}/lift", by="ann")
    assert (await admin.end_of(turn_id)).last["reason"] == "revoked"
    assert (await admin.agent.turn("say hello")).last["outcome"] == "completed"


async def test_a_revocation_outlives_a_restart(admin: Admin) -> None:
    """A service that starts anew knows what was revoked."""
    await admin.post("/v1/revocations", scope="everything", by="ann")
    await admin.agent.stop()
    await admin.agent.start()
    assert (await admin.agent.turn("say hello")).last["reason"] == "revoked"


async def test_another_key_is_used_at_once(
    admin: Admin, model: ScriptedMessages, home: Path
) -> None:
    """A key that an admin adds is used from the next request on, and is nowhere in clear."""
    secret = "sk-ant-canary-" + "k" * 30
    made = await admin.post("/v1/credentials", kind="api_key", secret=secret, label="ours")
    await admin.agent.turn("say hello")
    assert model.requests[-1].headers["x-api-key"] == secret
    await admin.caller.call("DELETE", f"/v1/credentials/{made['id']}")
    await admin.agent.turn("say hello")
    assert model.requests[-1].headers["x-api-key"] == "test-key"
    stored = b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())
    assert secret.encode() not in stored


async def test_all_of_it_is_in_the_audit_log(admin: Admin) -> None:
    """Who revoked what, and that it was done."""
    await admin.post("/v1/revocations", scope="person", subject="p9", by="ann")
    status, entries = await admin.caller.call("GET", "/v1/audit")
    assert status == 200
    kinds = [entry["kind"] for entry in entries]
    assert "revocation.asked" in kinds
    assert "revocation.step" in kinds
    status, _ = await admin.agent.caller.call("GET", "/v1/audit")
    assert status == 403
