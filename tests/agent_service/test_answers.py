"""Answers that meet something else: a call that would run unasked, a stop, the end of their time,
people and rules that are taken back. With the real CLI where a call is let go."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent_service.service import AgentService
from agent_service.testing.scripted_service import scripted_service
from benchmarks.waiting import MOST_BYTES, figures
from tests.agent_service.agent import Agent, ScriptedAgent, Turn
from tests.agent_service.process import ProcessAgent
from tests.agent_service.test_deciders import admin, answer, audited
from tests.agent_service.test_interruptions import rest_of
from tests.agent_service.test_rules import add, take_back

pytestmark = pytest.mark.asyncio(loop_scope="module")


class LaterAgent(ScriptedAgent):
    """Its clock can be put forward."""

    ahead = 0.0

    def made(self) -> AgentService:
        return scripted_service(self.settings, clock=lambda: time.time() + self.ahead)


@pytest_asyncio.fixture
async def scripted(home: Path) -> AsyncIterator[LaterAgent]:
    made = LaterAgent(home)
    await made.start()
    yield made
    await made.stop()


def said_to_model(agent: Agent, before: int) -> str:
    return str([request.body for request in list(agent.model.requests)[before:]])


@pytest.mark.parametrize("how", ["denied", "stopped"])
@pytest.mark.parametrize(
    ("rule", "step", "sign"),
    [
        ("Read(private/**)", "read private/k.txt", "TOPSECRET"),
        ("Agent", "subagent say SUBAGENT-WAS-HERE", "[Subagent hand-back]"),
    ],
)
async def test_what_a_rule_asks_about_runs_only_when_allowed(
    shared: Agent, rule: str, step: str, sign: str, how: str
) -> None:
    """A call that the CLI would run by itself, but for a rule: denied or stopped it never runs."""
    (shared.work / "private").mkdir(exist_ok=True)
    (shared.work / "private" / "k.txt").write_text("TOPSECRET\n")
    place = f"/conversations/c-{how}-{rule[:4]}"
    at = {"conversation": place.split("/")[-1]}
    await shared.turn("say hi", **at)
    assert (await add(shared, place, "ask", rule))[0] == 200
    before = len(shared.model.requests)
    turn = await shared.turn(step, **at)
    assert f"rule {rule} says to ask" in turn.decision["why"]
    if how == "denied":
        turn = await shared.decided(turn, "deny", reason="Not that one.")
        assert [ok for ok, _ in turn.results()] == [False]
        assert "Not that one." in turn.results()[0][1]
    else:
        await shared.caller.call("POST", f"/v1/turns/{turn.id}/interrupt", {"by": "p1"})
    await take_back(shared, place, "ask", rule)
    assert (await shared.turn("say on", **at)).text == "on"
    assert sign not in said_to_model(shared, before)
    await add(shared, place, "ask", rule)
    turn = await shared.decided(await shared.turn(step, **at), "allow")
    assert turn.last["outcome"] == "completed"
    assert sign in said_to_model(shared, before)


async def test_who_was_taken_back_is_none_of_two(shared: Agent) -> None:
    """The first of two people is taken back before the second answers: another one is needed."""
    await shared.deciders("p1", "p2", "p3")
    body = {"behavior": "two_people", "pattern": "Bash(touch pair*)", "by": "a1"}
    assert (await admin(shared, "PUT", "/v1/policy/rules", body))[0] == 200
    turn = await shared.turn("run touch pair.txt", conversation="c-back")
    assert await answer(shared, turn, "p2") == 200
    await shared.deciders("p1", "p3")
    status, view = await shared.decide(turn, "allow", decided_by="p1")
    assert (status, view["state"], view["approvals"]) == (200, "waiting", ["p1"])
    assert not (shared.work / "pair.txt").exists()
    assert await answer(shared, turn, "p3") == 200
    async with asyncio.timeout(30):
        while (await shared.caller.call("GET", f"/v1/turns/{turn.id}"))[1]["state"] != "finished":
            await asyncio.sleep(0.02)
    assert (shared.work / "pair.txt").exists()
    assert (await admin(shared, "DELETE", "/v1/policy/rules", body))[0] == 200
    await shared.deciders("p1")


@pytest.mark.parametrize(
    "command", ["env touch wrap.txt", "sh -c 'touch wrap.txt'", "X=1 touch  wrap.txt",
                "echo $(touch wrap.txt)", "(touch wrap.txt)"]
)  # fmt: skip
async def test_two_people_for_a_wrapped_command(shared: Agent, command: str) -> None:
    """Another command around it, brackets or quotes do not make one person enough."""
    body = {"behavior": "two_people", "pattern": "Bash(touch wrap*)", "by": "a1"}
    assert (await admin(shared, "PUT", "/v1/policy/rules", body))[0] == 200
    turn = await shared.turn(f"run {command}", conversation="c-wrap", mode="acceptEdits")
    assert turn.decision["needs"] == 2
    await shared.decided(turn, "deny")
    assert (await admin(shared, "DELETE", "/v1/policy/rules", body))[0] == 200
    assert not (shared.work / "wrap.txt").exists()


async def test_the_bridge_sets_nothing_else_for_the_deployment(shared: Agent) -> None:
    """Which calls need two people may come over the bridge, where admins write; no other rule."""
    path = "/v1/policy/rules"
    body = {"behavior": "two_people", "pattern": "Bash(reboot)", "by": "p1"}
    for method in ("PUT", "DELETE"):
        assert (await shared.caller.call(method, path, body))[0] == 200
        for behavior in ("allow", "ask", "deny"):
            assert (await shared.caller.call(method, path, {**body, "behavior": behavior}))[
                0
            ] == 403
    kinds = [e["kind"] for e in await audited(shared, "deployment") if "reboot" in str(e)]
    assert kinds == ["rule.added", "rule.removed"]


async def test_a_rule_taken_back_while_the_answered_call_is_taken_up(shared: Agent) -> None:
    """The session is being opened for the answer in that moment: the turn's next call asks."""
    place = "/conversations/c-taken-up"
    for _ in range(3):
        await add(shared, place, "allow", "Bash(id *)")
        turn = await shared.turn("run touch up.txt\nrun id -u", conversation="c-taken-up")
        assert turn.decision["shown"] == "touch up.txt"
        assert await answer(shared, turn, "p1") == 200
        await asyncio.sleep(0.1)  # wherever it is by then, the rule is gone for what comes after
        assert (await take_back(shared, place, "allow", "Bash(id *)"))[0] == 200
        turn = await rest_of(shared, turn)
        assert turn.decision["shown"] == "id -u"
        await shared.decided(turn, "deny")


async def test_every_change_stands_in_the_audit_log(shared: Agent) -> None:
    """Modes, the ceiling, rules added and taken back: who, where, what; nothing where nothing
    changed."""
    place = "/v1/conversations/c-audit/policy"
    rule = {"behavior": "deny", "pattern": "Bash(id)", "by": "p7"}
    for _ in range(2):
        for path, body in (
            (f"{place}/mode", {"mode": "plan", "by": "p7"}),
            (f"{place}/rules", rule),
        ):
            assert (await shared.caller.call("PUT", path, body))[0] == 200
    for _ in range(2):
        assert (await shared.caller.call("DELETE", f"{place}/rules", rule))[0] == 200
    body = {"mode": None, "by": "p8"}
    assert (await shared.caller.call("PUT", f"{place}/mode", body))[0] == 200
    told = {"scope": "conversation", "behavior": "deny", "pattern": "Bash(id)"}
    assert [(e["kind"], e["actor"], e["detail"]) for e in await audited(shared, "c-audit")] == [
        ("mode.set", "p7", {"scope": "conversation", "mode": "plan"}),
        ("rule.added", "p7", told),
        ("rule.removed", "p7", told),
        ("mode.set", "p8", {"scope": "conversation", "mode": None}),
    ]
    for ceiling in ("default", "default", None):
        body = {"ceiling": ceiling, "by": "a7"}
        assert (await admin(shared, "PUT", "/v1/policy/ceiling", body))[0] == 200
    log = [e for e in await audited(shared, "deployment") if e["kind"] == "ceiling.set"]
    assert [(e["actor"], e["detail"]["ceiling"]) for e in log] == [("a7", "default"), ("a7", None)]


@pytest.mark.parametrize("how", ["closed", "stopped"])
async def test_a_question_that_is_withdrawn_stands_in_the_audit_log(
    shared: Agent, how: str
) -> None:
    """Closing its conversation, and stopping its turn, settle it as denied, with who did it where
    somebody did; no answer counts any more, and it never runs."""
    at = {"conversation": f"c-{how}"}
    turn = await shared.turn(f"bash touch {how}.txt", **at)
    if how == "closed":
        status, said = await shared.caller.call("POST", f"/v1/conversations/c-{how}/close")
    else:
        path = f"/v1/turns/{turn.id}/interrupt"
        status, said = await shared.caller.call("POST", path, {"by": "p1"})
    assert status == 200, said
    (resolved,) = [
        e for e in await audited(shared, turn.decision["id"]) if e["kind"] == "decision.resolved"
    ]
    who, why = {
        "closed": ("agent_service", "The conversation was closed."),
        "stopped": ("p1", "Stopped."),
    }[how]
    assert (resolved["actor"], resolved["detail"]["reason"]) == (who, why)
    assert resolved["detail"]["outcome"] == "cancelled"
    assert await answer(shared, turn, "p1") == 409
    assert (await shared.turn("say on", mode="acceptEdits", **at)).text == "on"
    assert not (shared.work / f"{how}.txt").exists()


async def test_a_question_in_odd_characters_gets_its_answer(shared: Agent) -> None:
    """It is shown with them made visible, and the agent hears the answer in its own words."""
    asked = {
        "question": "Which\u202e one?", "header": "Q", "multiSelect": False,
        "options": [{"label": "A\u200b1", "description": ""}, {"label": "B", "description": ""}],
    }  # fmt: skip
    step = f"tool AskUserQuestion {json.dumps({'questions': [asked]})}"
    turn = await shared.turn(step, conversation="c-odd")
    (shown,) = turn.decision["questions"]
    assert shown["question"] == "Which⟨U+202E⟩ one?"
    given = [[shown["question"], [shown["options"][0]["label"]]]]
    before = len(shared.model.requests)
    turn = await shared.decided(turn, "answer", answers=given)
    assert turn.last["outcome"] == "completed"
    assert "A\\u200b1" in said_to_model(shared, before)


# ---- what a kill leaves ----


@pytest.mark.asyncio(loop_scope="function")
async def test_a_call_that_was_given_up_is_taken_up_again(process: ProcessAgent) -> None:
    """The agent noted that it gave the call up as it saw its service go: allowed it runs, once."""
    turn = await process.turn("bash echo run >> again.txt")
    await process.kill()
    given_up(process)
    await process.start()
    turn = await process.decided(turn, "allow")
    assert turn.last["outcome"] == "completed"
    assert (await process.turn("say on")).text == "on"
    assert (process.work / "again.txt").read_text() == "run\n"


@pytest.mark.asyncio(loop_scope="function")
async def test_a_lost_call_is_told_and_can_be_retried(process: ProcessAgent) -> None:
    """The agent has the allowed call no more: nothing runs, whoever waits is told so and what to
    do, and the same words again ask again."""
    turn = await process.turn("bash touch lost.txt")
    await process.kill()
    (file,) = (process.work.parent / "config").glob("projects/*/*.jsonl")
    kept = [line for line in file.read_text().splitlines(keepends=True) if "toolu_" not in line]
    file.write_text("".join(kept))
    await process.start()
    turn = await process.decided(turn, "allow")
    assert (turn.last["outcome"], turn.last["reason"]) == ("failed", "interrupted")
    assert "not being run now" in turn.last["message"]
    assert "retry" in turn.last["remedy"]
    assert not (process.work / "lost.txt").exists()
    turn = await process.decided(await process.turn("bash touch lost.txt"), "allow")
    assert turn.last["outcome"] == "completed"
    assert (process.work / "lost.txt").exists()


def given_up(process: ProcessAgent) -> None:
    """The session's file as a CLI leaves it that saw its service go."""
    (file,) = (process.work.parent / "config").glob("projects/*/*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    made = next(line for line in reversed(lines) if "tool_use" in json.dumps(line.get("message")))
    (call,) = [b for b in made["message"]["content"] if b["type"] == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "gone", "is_error": True}
    line = {
        **made, "type": "user", "uuid": "00000000-0000-4000-8000-000000000001",
        "parentUuid": made["uuid"], "message": {"role": "user", "content": [result]},
    }  # fmt: skip
    with file.open("a") as end:
        end.write(json.dumps(line) + "\n")


@pytest.mark.asyncio(loop_scope="function")
async def test_a_denial_that_was_not_heard_is_told_later(process: ProcessAgent) -> None:
    """Killed between the click and the agent: after the start the agent learns why, and goes on."""
    turn = await process.turn("bash touch no.txt\nsay going on")
    assert await answer(process, turn, "p1", "deny", reason="Too early.") == 200
    await process.kill()
    await process.start()
    turn = await rest_of(process, turn)
    assert turn.last["outcome"] == "completed"
    assert "Too early." in turn.results()[0][1]
    assert not (process.work / "no.txt").exists()


# ---- with a scripted session: only the order of things matters ----


@pytest.mark.asyncio(loop_scope="function")
async def test_an_answer_after_its_time_that_nobody_noticed(scripted: LaterAgent) -> None:
    """A service that was down at that moment looks only now and then: the answer is refused."""
    turn = await scripted.turn("bash touch x")
    scripted.ahead = 25 * 3600
    status, said = await scripted.decide(turn, "allow")
    assert (status, said["error"]["outcome"]) == (409, "expired")
    last = (await scripted.caller.events(turn.id, after=turn.numbers[-1]))[-1][1]
    assert (last["outcome"], last["reason"]) == ("refused", "expired")


@pytest.mark.asyncio(loop_scope="function")
async def test_a_stop_beside_an_answer_is_never_lost(scripted: LaterAgent) -> None:
    """Whatever comes first, the turn ends; an answer that was first stays what was decided."""
    for number in range(40):
        turn = await scripted.turn("bash touch x\nhang", conversation=f"c{number}")
        path = f"/v1/turns/{turn.id}/interrupt"
        pause = number % 8 / 1000

        async def stop(path: str = path, pause: float = pause) -> tuple[int, Any]:
            await asyncio.sleep(pause)
            return await scripted.caller.call("POST", path, {"by": "p1"})

        (answered, view), (stopped, after) = await asyncio.gather(
            scripted.decide(turn, "allow"), stop()
        )
        assert stopped == 200, after
        assert (after["state"], after["outcome"]) == ("finished", "interrupted")
        if answered == 200:
            assert view["state"] == "allowed"
        else:
            assert (answered, view["error"]["outcome"]) == (409, "cancelled")


@pytest.mark.asyncio(loop_scope="function")
async def test_a_stop_as_it_begins_to_wait_is_never_lost(scripted: LaterAgent) -> None:
    """The question is withdrawn where the turn got as far as that."""
    for number in range(40):
        turn_id = await scripted.put("bash touch x", conversation=f"c{number}")
        await asyncio.sleep(number % 10 / 1000)
        path = f"/v1/turns/{turn_id}/interrupt"
        _, view = await scripted.caller.call("POST", path, {"by": "p1"})
        assert (view["state"], view["outcome"]) == ("finished", "interrupted")
        kinds = Turn(turn_id, await scripted.caller.events(turn_id)).kinds
        assert ("decision.requested" in kinds) is ("decision.resolved" in kinds)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.asyncio(loop_scope="function")
async def test_two_hundred_that_wait_hold_nothing() -> None:
    """No process at all, and of the service's memory less than a page or two of text each."""
    processes, before, after = await figures(200)
    assert processes == 0
    assert (after - before) / 200 < MOST_BYTES
