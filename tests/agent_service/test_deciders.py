"""Who may decide, and what an answer does, with the real CLI."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent_service.service import AgentService
from tests.agent_service.agent import Agent, Caller, Turn, session_processes
from tests.agent_service.process import ProcessAgent

pytestmark = pytest.mark.asyncio(loop_scope="module")
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command", ["uname -s", "git --version", "uname -s && uname -s", "uname -s 2>/dev/null"]
)
async def test_a_denied_call_never_runs(shared: Agent, command: str) -> None:
    """Not even one that the CLI takes for harmless and would run by itself; stopped, neither."""
    turn = await shared.turn(f"bash {command}", conversation="c-harmless")
    assert turn.last["kind"] == "turn.waiting"
    turn = await shared.decided(turn, "deny", reason="Not now, please.")
    assert [ok for ok, _ in turn.results()] == [False]
    assert "Not now, please." in turn.results()[0][1]
    turn = await shared.turn(f"bash {command}", conversation="c-harmless")
    await shared.caller.call("POST", f"/v1/turns/{turn.id}/interrupt", {"by": "p1"})
    before = len(shared.model.requests)
    await shared.turn("say onwards", conversation="c-harmless")
    said = str([request.body for request in list(shared.model.requests)[before:]])
    assert "Linux" not in said.split("bash uname")[-1]


async def answer(agent: Agent, turn: Turn, by: str, outcome: str = "allow", **fields: Any) -> int:
    status, _ = await agent.decide(turn, outcome, decided_by=by, **fields)
    return status


async def audited(agent: Agent, subject: str) -> list[dict[str, Any]]:
    """What the audit log has about a decision, or a place."""
    caller, found, after = Caller(agent.home, "admin"), [], 0
    try:
        while True:
            _, page = await caller.call("GET", f"/v1/audit?after={after}")
            entries = page["entries"] if isinstance(page, dict) else page
            if not entries:
                return [entry for entry in found if entry["subject"] == subject]
            found += entries
            after = entries[-1]["seq"]
    finally:
        await caller.http.close()


async def admin(agent: Agent, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    caller = Caller(agent.home, "admin")
    try:
        return await caller.call(method, path, body)
    finally:
        await caller.http.close()


async def test_nobody_decides_by_default(shared: Agent) -> None:
    """A workspace for which nobody was named: every answer is refused, its asker's too."""
    await shared.deciders(workspace="w-none")
    turn = await shared.turn("bash touch a.txt", conversation="c-none", workspace="w-none")
    status, said = await shared.decide(turn, "allow")
    assert status == 403
    assert said["error"]["remedy"]
    assert await answer(shared, turn, "p1", "deny") == 403
    assert not (shared.home / "workspaces" / "w-none" / "work" / "a.txt").exists()


async def test_only_named_people_decide_and_others_are_noted_once(shared: Agent) -> None:
    """Wrong people are refused and stand in the audit log once, whichever way they were refused;
    the right one still can."""
    turn = await shared.turn("bash touch named.txt", conversation="c-named")
    for _ in range(2):
        assert await answer(shared, turn, "p2") == 403
        assert await answer(shared, turn, "p3", "deny") == 403
    path = f"/v1/turns/{turn.id}/decisions/{turn.decision['id']}/refused"
    for _ in range(2):
        body = {"who": "slack:U1", "why": "not one of us"}
        assert (await shared.caller.call("POST", path, body))[0] == 200
    assert not (shared.work / "named.txt").exists()
    await shared.decided(turn, "allow")
    assert (shared.work / "named.txt").exists()
    log = await audited(shared, turn.decision["id"])
    refused = [entry["actor"] for entry in log if entry["kind"] == "decision.refused"]
    assert sorted(refused) == ["p2", "p3", "slack:U1"]
    kinds = [entry["kind"] for entry in log if entry["kind"] != "decision.refused"]
    assert kinds == [
        "decision.requested", "decision.resolved", "decision.released", "decision.executed"
    ]  # fmt: skip
    asked, resolved, _, executed = (e for e in log if e["kind"] in kinds)
    shown = hashlib.sha256(turn.decision["shown"].encode()).hexdigest()
    assert asked["detail"]["shown_sha256"] == shown
    assert asked["detail"]["person"] == "p1"
    assert (resolved["actor"], resolved["detail"]["outcome"]) == ("p1", "allowed")
    assert (executed["detail"]["ok"], executed["detail"]["exit_code"]) == (True, 0)


async def test_a_wrong_id_decides_nothing(shared: Agent) -> None:
    """Ids that were made up, changed, or belong to another turn: no such decision, and who tried
    stands in the audit log."""
    turn = await shared.turn("bash touch forged.txt", conversation="c-forged")
    other = await shared.turn("say hi", conversation="c-forged-2")
    known = turn.decision["id"]
    body = {"outcome": "allow", "decided_by": "p1"}
    ids = [(turn.id, known[:-1] + ("0" if known[-1] != "0" else "1")), (turn.id, "d_0"),
           (other.id, known), ("t_none", known), (turn.id, known.upper())]  # fmt: skip
    for turn_id, decision_id in ids:
        path = f"/v1/turns/{turn_id}/decisions/{decision_id}"
        assert (await shared.caller.call("POST", path, body))[0] == 404, path
        tried = [e for e in await audited(shared, decision_id) if e["kind"] == "decision.unknown"]
        assert "p1" in [entry["actor"] for entry in tried], decision_id
    for bad in ("", "p1 ", "../p1", "p" * 65):
        assert await answer(shared, turn, bad) == 400
    assert not (shared.work / "forged.txt").exists()
    assert await answer(shared, turn, "p1", "deny") == 200


async def test_the_first_of_two_answers_counts(shared: Agent) -> None:
    """Two at once: one is taken, the other is told what was decided and by whom."""
    await shared.deciders("p1", "p2")
    turn = await shared.turn("bash echo run >> twice.txt", conversation="c-two")
    results = await asyncio.gather(
        shared.decide(turn, "allow", decided_by="p1"),
        shared.decide(turn, "deny", decided_by="p2"),
        shared.decide(turn, "allow", decided_by="p2"),
    )
    assert sorted(status for status, _ in results) == [200, 409, 409]
    (won,) = [said for status, said in results if status == 200]
    for status, said in results:
        if status == 409:
            assert said["error"]["decided_by"] == won["decided_by"]
            assert said["error"]["outcome"] == won["state"]
    events = await shared.caller.events(turn.id, after=turn.numbers[-1])
    assert events[-1][1]["outcome"] == "completed"
    assert (shared.work / "twice.txt").exists() is (won["state"] == "allowed")
    await shared.deciders("p1")


async def test_who_may_not_decide_gets_less(shared: Agent) -> None:
    """Asked by somebody who may not decide: mode default at most and no stored rule to allow;
    deny rules hold."""
    at = {"conversation": "c-guest"}
    for behavior, pattern in (("allow", "Bash(id *)"), ("deny", "Bash(whoami)")):
        body = {"behavior": behavior, "pattern": pattern, "by": "p1"}
        assert (await shared.caller.call("PUT", "/v1/workspaces/w1/policy/rules", body))[0] == 200
    assert (await shared.turn("run id -u", **at)).last["outcome"] == "completed"
    for asker in ({"person": "p2", "name": ""}, {"person": "p1", "name": "", "may_decide": False}):
        turn = await shared.turn("run id -u", asker=asker, mode="acceptEdits", **at)
        assert turn.decision["shown"] == "id -u"
        await shared.decided(turn, "deny")
        turn = await shared.turn("write g.txt x", asker=asker, mode="acceptEdits", **at)
        assert turn.decision["tool"] == "Write"
        await shared.decided(turn, "deny")
        turn = await shared.turn("run whoami", asker=asker, **at)
        assert [ok for ok, _ in turn.results()] == [False]
    assert (await shared.turn("run id -u", **at)).last["outcome"] == "completed"


async def test_a_decider_taken_back_loses_it_at_once(shared: Agent) -> None:
    """Their turn runs in acceptEdits; they are taken back: the next edit asks, and they cannot
    answer."""
    await shared.deciders("p1", "p9")
    asker = {"person": "p9", "name": "Eve"}
    script = "write t1.txt x\nslow 2 one two three four\nwrite t2.txt x"
    turn_id = await shared.put(script, conversation="c-taken", asker=asker, mode="acceptEdits")
    async for _, event in shared.caller.stream(f"/v1/turns/{turn_id}/events"):
        if event["kind"] == "text.delta":
            break
    await shared.deciders("p1")
    turn = Turn(turn_id, await shared.caller.events(turn_id))
    assert turn.decision["title"] == "Write t2.txt"
    assert (shared.work / "t1.txt").exists()
    assert await answer(shared, turn, "p9") == 403
    assert not (shared.work / "t2.txt").exists()
    await shared.decided(turn, "deny")


async def test_a_decider_taken_away_while_a_decision_waits(shared: Agent) -> None:
    """Named when it was asked, taken away since: neither yes nor no of theirs counts, nor a host;
    who is still named decides."""
    await shared.deciders("p1", "p9")
    turn = await shared.turn("run touch gone.txt", conversation="c-gone")
    await shared.deciders("p1")
    assert await answer(shared, turn, "p9") == 403
    assert await answer(shared, turn, "p9", "deny") == 403
    assert not (shared.work / "gone.txt").exists()
    await shared.decided(turn, "allow")
    assert (shared.work / "gone.txt").exists()
    log = await audited(shared, turn.decision["id"])
    assert [e["actor"] for e in log if e["kind"] == "decision.refused"] == ["p9"]


async def test_a_removed_person_decides_nothing(shared: Agent) -> None:
    """Whose access was revoked while a decision waits cannot answer it, nor allow a host, though
    they are still among those who were named; given back, they can."""
    await shared.deciders("p1", "p8")
    turn = await shared.turn("run touch revoked.txt", conversation="c-revoked")
    body = {"scope": "person", "subject": "p8", "by": "a1"}
    status, made = await admin(shared, "POST", "/v1/revocations", body)
    assert status == 200, made
    for outcome in ("allow", "deny"):
        status, said = await shared.decide(turn, outcome, decided_by="p8")
        assert (status, "revoked" in said["error"]["message"]) == (403, True), said
    host = "/v1/workspaces/w1/egress?pattern=example.org&by=p8"
    assert (await shared.caller.call("PUT", host))[0] == 403
    assert not (shared.work / "revoked.txt").exists()
    path = f"/v1/revocations/{made['id']}/lift"
    assert (await admin(shared, "POST", path, {"by": "a1"}))[0] == 200
    assert await answer(shared, turn, "p8") == 200
    await shared.caller.events(turn.id, after=turn.numbers[-1])
    assert (shared.work / "revoked.txt").exists()
    await shared.deciders("p1")


async def test_an_approval_goes_with_its_decider(shared: Agent) -> None:
    """Of two people who have to allow it, the first is taken away: theirs no longer counts, and
    two others are needed."""
    await shared.deciders("p1", "p2", "p3")
    body = {"behavior": "two_people", "pattern": "Bash(touch both*)", "by": "a1"}
    assert (await admin(shared, "PUT", "/v1/policy/rules", body))[0] == 200
    turn = await shared.turn("run touch both.txt", conversation="c-withdrawn")
    assert await answer(shared, turn, "p2") == 200
    await shared.deciders("p1", "p3")
    assert await answer(shared, turn, "p1") == 200
    events = await shared.caller.events(turn.id, after=turn.numbers[-1])
    approved = [(e["by"], e["missing"]) for _, e in events if e["kind"] == "decision.approved"]
    assert approved == [("p2", 1), ("p1", 1)]
    assert not (shared.work / "both.txt").exists()
    assert await answer(shared, turn, "p3") == 200
    events = await shared.caller.events(turn.id, after=events[-1][0])
    assert events[-1][1]["outcome"] == "completed"
    assert (shared.work / "both.txt").exists()
    assert (await admin(shared, "DELETE", "/v1/policy/rules", body))[0] == 200
    await shared.deciders("p1")


async def test_two_people_where_an_admin_says_so(shared: Agent) -> None:
    """The first approval keeps it waiting, the same person twice is one, the second lets it go; a
    denial ends it; nothing but allow or deny counts."""
    await shared.deciders("p1", "p2")
    body = {"behavior": "two_people", "pattern": "Bash(touch two*)", "by": "a1"}
    assert (await admin(shared, "PUT", "/v1/policy/rules", body))[0] == 200
    turn = await shared.turn("run touch two.txt", conversation="c-both", mode="acceptEdits")
    assert (turn.decision["needs"], turn.decision["pattern"]) == (2, "")
    assert await answer(shared, turn, "p1", "answer") == 400
    assert await answer(shared, turn, "p1", scope="workspace") == 400
    first = await shared.decided(turn, "allow")
    assert first.kinds == ["decision.approved", "turn.waiting"]
    assert (first.events[0]["by"], first.events[0]["missing"]) == ("p1", 1)
    assert await answer(shared, turn, "p1") == 200
    assert await answer(shared, turn, "p3") == 403
    assert not (shared.work / "two.txt").exists()
    assert await answer(shared, turn, "p2") == 200
    done = Turn(turn.id, await shared.caller.events(turn.id, after=first.numbers[-1]))
    assert done.last["outcome"] == "completed"
    assert (shared.work / "two.txt").exists()
    log = [e["kind"] for e in await audited(shared, turn.decision["id"])]
    assert log.count("decision.approved") == 1
    turn = await shared.turn("run touch two2.txt", conversation="c-both")
    first = await shared.decided(turn, "allow")
    assert await answer(shared, turn, "p2", "deny") == 200
    done = Turn(turn.id, await shared.caller.events(turn.id, after=first.numbers[-1]))
    assert done.last["outcome"] == "completed"
    assert not (shared.work / "two2.txt").exists()
    assert (await admin(shared, "DELETE", "/v1/policy/rules", body))[0] == 200
    await shared.deciders("p1")


async def test_two_people_for_what_waits(shared: Agent) -> None:
    """Said while a call waits, it holds for that call: one approval is not enough any more."""
    await shared.deciders("p1", "p2")
    turn = await shared.turn("run touch late-two.txt", conversation="c-late-two")
    assert turn.decision["needs"] == 1
    body = {"behavior": "two_people", "pattern": "Bash(touch late-two*)", "by": "a1"}
    assert (await admin(shared, "PUT", "/v1/policy/rules", body))[0] == 200
    first = await shared.decided(turn, "allow")
    assert first.kinds == ["decision.approved", "turn.waiting"]
    assert not (shared.work / "late-two.txt").exists()
    assert await answer(shared, turn, "p2") == 200
    done = Turn(turn.id, await shared.caller.events(turn.id, after=first.numbers[-1]))
    assert done.last["outcome"] == "completed"
    assert (shared.work / "late-two.txt").exists()
    assert (await admin(shared, "DELETE", "/v1/policy/rules", body))[0] == 200
    await shared.deciders("p1")


@pytest.mark.asyncio(loop_scope="function")
async def test_allowed_for_the_workspace_it_runs_unasked(agent: Agent) -> None:
    """The rule is stored with who said so, holds in other conversations and after a restart."""
    turn = await agent.turn("run touch s1.txt")
    await agent.decided(turn, "allow", scope="workspace")
    assert (await agent.turn("run touch s2.txt", conversation="c2")).last["outcome"] == "completed"
    _, view = await agent.caller.call("GET", "/v1/workspaces/w1/policy")
    assert [(r["pattern"], r["added_by"]) for r in view["rules"]] == [("Bash(touch *)", "p1")]
    await agent.stop()
    await agent.start()
    assert (await agent.turn("run touch s3.txt")).last["outcome"] == "completed"
    assert "rule.added" in [e["kind"] for e in await audited(agent, "w1")]


@pytest.mark.asyncio(loop_scope="function")
async def test_an_answer_an_hour_later_and_one_too_late(home: Path, model: Any) -> None:
    """With the clock an hour on, after restarts, the call runs; past its time it is denied, told
    so, and no answer counts any more."""

    class Later(Agent):
        now = 0.0

        async def start(self) -> None:
            self.service = AgentService(self.settings, clock=lambda: time.time() + self.now)
            await self.service.start()
            self.caller = Caller(self.home)
            await self.deciders("p1")

    made = Later(home, model)
    await made.start()
    turn = await made.turn("bash touch hour.txt")
    assert session_processes(home) == []
    made.now = 3600
    await made.stop()
    await made.start()
    turn = await made.decided(turn, "allow")
    assert turn.last["outcome"] == "completed"
    assert (made.work / "hour.txt").exists()
    turn = await made.turn("bash touch late.txt")
    made.now = 3600 * 26
    async with asyncio.timeout(20):
        while (await made.caller.call("GET", f"/v1/turns/{turn.id}"))[1]["state"] == "waiting":
            await asyncio.sleep(0.2)
    events = await made.caller.events(turn.id, after=turn.numbers[-1])
    assert [e["kind"] for _, e in events] == ["decision.resolved", "turn.finished"]
    assert (events[0][1]["state"], events[1][1]["reason"]) == ("expired", "expired")
    assert await answer(made, turn, "p1") == 409
    assert (await made.turn("say on", mode="acceptEdits")).text == "on"
    assert not (made.work / "late.txt").exists()
    resolved = [e for e in await audited(made, turn.decision["id"]) if "resolved" in e["kind"]]
    assert [e["detail"]["outcome"] for e in resolved] == ["expired"]
    await made.stop()


async def test_of_several_calls_one_is_asked(shared: Agent) -> None:
    """Two calls of one message: the first is told to come alone, the last waits; both run once."""
    turn = await shared.turn("both echo 1 >> s.txt ;; echo 2 >> s.txt", conversation="c-several")
    assert turn.decision["shown"] == "echo 2 >> s.txt"
    assert [ok for ok, _ in turn.results()] == [False]
    assert "alone" in turn.results()[0][1]
    turn = await shared.decided(turn, "allow")
    assert (shared.work / "s.txt").read_text() == "2\n"


async def test_a_subagent_cannot_ask(shared: Agent) -> None:
    """A call inside a subagent is sent to the main session, and not run."""
    turn = await shared.turn("subagent bash echo 1 >> sub.txt", conversation="c-sub")
    assert any("main session" in text for _, text in turn.results())
    assert not (shared.work / "sub.txt").exists()


# ---- plans ----


async def test_a_plan_that_is_approved_goes_on_asking(shared: Agent) -> None:
    """Planning ends with the approval: the turn goes on in default, and an edit asks."""
    at = {"conversation": "c-plan"}
    path = "/v1/conversations/c-plan/policy/mode"
    await shared.caller.call("PUT", path, {"mode": "plan", "by": "p1"})
    turn = await shared.turn("plan Write p1.txt.\nwrite p1.txt x", **at)
    assert (turn.decision["kind"], turn.decision["shown"]) == ("plan", "Write p1.txt.")
    turn = await shared.decided(turn, "allow")
    assert turn.decision["title"] == "Write p1.txt"
    await shared.decided(turn, "deny")
    _, view = await shared.caller.call("GET", "/v1/conversations/c-plan/policy")
    assert view["mode"] == "default"


async def test_a_plan_that_is_approved_with_its_edits(shared: Agent) -> None:
    """Approve and edit: the edits run, and the next turn does not plan again."""
    at = {"conversation": "c-plan-2"}
    path = "/v1/conversations/c-plan-2/policy/mode"
    await shared.caller.call("PUT", path, {"mode": "plan", "by": "p1"})
    turn = await shared.turn("plan Write p2.txt.\nwrite p2.txt x", **at)
    turn = await shared.decided(turn, "allow", mode="acceptEdits")
    assert turn.last["outcome"] == "completed"
    assert (shared.work / "p2.txt").exists()
    turn = await shared.turn("write p3.txt x", **at)
    assert (shared.work / "p3.txt").exists()


async def test_a_plan_that_is_sent_back(shared: Agent) -> None:
    """Keep planning: what the person says reaches the model, and nothing is changed."""
    turn = await shared.turn(
        "plan Write p4.txt.\nwrite p4.txt x", conversation="c-plan-3", mode="plan"
    )
    turn = await shared.decided(turn, "deny", reason="Look at the tests first.")
    assert "Look at the tests first." in str(turn.results())
    assert not (shared.work / "p4.txt").exists()


async def test_a_plan_by_request_alone(shared: Agent) -> None:
    """Only this turn was to plan: approved, it goes on, and the conversation's own mode stays."""
    at = {"conversation": "c-plan-4"}
    turn = await shared.turn("plan Write p5.txt.\nwrite p5.txt x", mode="plan", **at)
    turn = await shared.decided(turn, "allow", mode="acceptEdits")
    assert (shared.work / "p5.txt").exists()
    _, view = await shared.caller.call("GET", "/v1/conversations/c-plan-4/policy")
    assert view["mode"] is None
    turn = await shared.turn("write p6.txt x", **at)
    assert turn.decision["title"] == "Write p6.txt"
    await shared.decided(turn, "deny")
    turn = await shared.turn("bash touch p7.txt", **at)
    assert await answer(shared, turn, "p1", mode="acceptEdits") == 400
    await shared.decided(turn, "deny")


@pytest.mark.asyncio(loop_scope="function")
async def test_the_audit_log_can_be_taken_away(process: ProcessAgent) -> None:
    """`bascule audit export` prints every entry as a line of JSON, while the service runs, and
    says what to do where there is none."""
    turn = await process.turn("bash touch x.txt")
    await process.decided(turn, "allow", scope="conversation")
    environment = {**os.environ, "BASCULE_HOME": str(process.home)}
    command = [str(Path(sys.executable).parent / "bascule"), "audit", "export"]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    kinds = [entry["kind"] for entry in entries]
    for kind in ("deciders.set", "decision.requested", "decision.resolved", "rule.added",
                 "decision.released", "decision.executed"):  # fmt: skip
        assert kind in kinds
    assert all(entry["hash"] for entry in entries)
    environment["BASCULE_HOME"] = str(process.home / "nowhere")
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, cwd=REPOSITORY
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "BASCULE_HOME" in done.stderr
