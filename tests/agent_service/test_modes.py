"""What each permission mode really does, with the real CLI: every call in every mode."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from pydantic import ValidationError

from agent_service.contract.turns import Mode
from agent_service.settings import AgentSettings
from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Agent, Caller, Turn, make_home
from tests.agent_service.process import ProcessAgent
from tests.isolation.ordinary import OrdinaryAgent

pytestmark = pytest.mark.asyncio(loop_scope="module")

What = Literal["runs", "asks", "refused"]
ORDER: tuple[Mode, ...] = ("default", "acceptEdits", "plan", "dontAsk", "bypassPermissions")


def write(path: str) -> str:
    return f"tool Write {json.dumps({'file_path': path, 'content': 'x'})}"


@dataclass(frozen=True, slots=True)
class Row:
    """A call, and what becomes of it in each mode, in the order of `ORDER`."""

    title: str
    step: str
    expected: str

    def of(self, mode: Mode) -> What:
        letter = self.expected.split()[ORDER.index(mode)]
        return {"r": "runs", "a": "asks", "x": "refused"}[letter]  # type: ignore[return-value]


# docs/permissions.md shows this table; r: runs, a: asks, x: refused.
TABLE = [
    Row("read a file of the workspace", "read seen.txt", "r r r r r"),
    Row("`ls`", "bash ls", "r r r r r"),
    Row("`cat` in the workspace", "bash cat seen.txt", "r r r r r"),
    Row("read a file elsewhere", "read /usr/lib/os-release", "a a a x r"),
    Row("`cat` elsewhere", "bash cat /usr/lib/os-release", "a a a x r"),
    Row("write a file of the workspace", write("made.txt"), "a r x x r"),
    Row("edit a file of the workspace", "edit seen.txt seen => looked at", "a r x x r"),
    Row("write a file elsewhere", write("/tmp/made.txt"), "a a x x r"),
    Row("write `.git/hooks`", write(".git/hooks/pre-commit"), "a a x x r"),
    Row("`touch`", "bash touch touched.txt", "a r a x r"),
    Row("`mkdir`", "bash mkdir made", "a r a x r"),
    Row("`rm`", "bash rm gone.txt", "a r a x r"),
    Row("`touch` in `.git/hooks`", "bash touch .git/hooks/x", "a a a x r"),
    Row("`python3 -c`", "bash python3 -c 'print(1)'", "a a a x r"),
    Row("`env`", "bash env", "a a a x r"),
    Row("fetch a page", "fetch http://example.invalid/", "a a a x r"),
    Row("ask a question", "ask Which? | A | B", "a a a x a"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lax() -> AsyncIterator[OrdinaryAgent]:
    """A service whose operator allows every mode, of an ordinary user."""
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    async with ScriptedMessages() as model:
        made = OrdinaryAgent(home, model, agent_mode_ceiling="bypassPermissions")
        await made.start()
        yield made
        await made.stop()
        await made.no_sessions()
    shutil.rmtree(home, ignore_errors=True)


def became(events: list[dict[str, Any]], tool_use_id: str) -> What:
    """What became of a call that was not asked about."""
    (result,) = [e for e in events if e["kind"] == "tool.finished" and e["id"] == tool_use_id]
    refusals = ("permission", "plan mode", "don't ask", "denied")
    no = not result["ok"] and any(word in result["summary"].lower() for word in refusals)
    return "refused" if no else "runs"


async def seen_in(agent: Agent, mode: Mode) -> dict[str, What]:
    """Have every call made in one mode; whatever asks is denied."""
    work = agent.home / "workspaces" / f"w-{mode}" / "work"
    await agent.deciders("p1", workspace=f"w-{mode}")
    await agent.turn("say hi", conversation=f"c-{mode}", workspace=f"w-{mode}")
    for name in ("seen.txt", "gone.txt"):
        (work / name).write_text("seen\n")
    work.joinpath(".git", "hooks").mkdir(parents=True)
    await asyncio.create_subprocess_exec("chmod", "-R", "a+rwX", str(work))
    script = "\n".join(row.step for row in TABLE)
    turn = await agent.turn(script, conversation=f"c-{mode}", workspace=f"w-{mode}", mode=mode)
    events, asked = list(turn.events), []
    while turn.last["kind"] == "turn.waiting":
        started = [e for e in events if e["kind"] == "tool.started"]
        asked.append(started[-1]["id"])
        turn = await agent.decided(turn, "deny", reason="Not this one.")
        events += turn.events
    assert turn.last["outcome"] == "completed", turn.last
    calls = list(dict.fromkeys(e["id"] for e in events if e["kind"] == "tool.started"))
    titles = {e["id"]: e["title"] for e in events if e["kind"] == "tool.started"}
    calls = [call for call in calls if titles[call] != "ToolSearch"]
    assert len(calls) == len(TABLE), "; ".join(titles[call] for call in calls)
    return {
        row.title: "asks" if call in asked else became(events, call)
        for row, call in zip(TABLE, calls, strict=True)
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(lax: OrdinaryAgent) -> dict[Mode, dict[str, What]]:
    found = await asyncio.gather(*(seen_in(lax, mode) for mode in ORDER))
    return dict(zip(ORDER, found, strict=True))


@pytest.mark.parametrize("mode", ORDER)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.title)
async def test_what_a_mode_does(seen: dict[Mode, dict[str, What]], row: Row, mode: Mode) -> None:
    """A call runs, asks or is refused as the table says."""
    assert seen[mode][row.title] == row.of(mode)


async def test_the_page_shows_the_table() -> None:
    """docs/permissions.md says what is tested here, line by line."""
    page = (Path(__file__).parents[2] / "docs" / "permissions.md").read_text("utf-8")
    for row in TABLE:
        assert f"| {row.title} | {' | '.join(row.of(mode) for mode in ORDER)} |" in page


async def admin(agent: Agent, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """A call of the web admin's."""
    caller = Caller(agent.home, "admin")
    try:
        return await caller.call("PUT", path, body)
    finally:
        await caller.http.close()


async def test_nothing_above_the_ceiling(shared: Agent) -> None:
    """acceptEdits is the most where the operator set nothing: whoever asks for more is refused."""
    set_to = {"mode": "bypassPermissions", "by": "p1"}
    for path in ("/v1/workspaces/w1/policy/mode", "/v1/conversations/c1/policy/mode"):
        status, answer = await shared.caller.call("PUT", path, set_to)
        assert (status, answer["error"]["field"]) == (403, "mode")
        assert answer["error"]["remedy"]
    assert (await admin(shared, "/v1/policy/mode", set_to))[0] == 403
    path = "/v1/turns/t_above"
    body = shared.request("say hi", mode="bypassPermissions")
    assert (await shared.caller.call("PUT", path, body))[0] == 403
    ceiling = {"ceiling": "bypassPermissions", "by": "p1"}
    status, answer = await admin(shared, "/v1/policy/ceiling", ceiling)
    assert (status, answer["error"]["field"]) == (403, "ceiling")
    assert "AGENT_MODE_CEILING" in answer["error"]["remedy"]
    assert (await shared.caller.call("PUT", "/v1/policy/ceiling", ceiling))[0] == 403
    for mode in ("plan", "dontAsk", "default", "acceptEdits"):
        path = "/v1/conversations/c1/policy/mode"
        assert (await shared.caller.call("PUT", path, {"mode": mode, "by": "p1"}))[0] == 200
        _, view = await shared.caller.call("GET", "/v1/conversations/c1/policy")
        assert view["mode"] == mode
    assert (await shared.caller.call("PUT", path, {"mode": None, "by": "p1"}))[0] == 200


async def test_a_lowered_ceiling_acts_on_what_runs(shared: Agent) -> None:
    """A turn runs in acceptEdits; the ceiling comes down: its next edit asks, and a stored mode
    counts no more."""
    script = f"{write('before.txt')}\nslow 2 one two three\n{write('after.txt')}"
    await shared.caller.call(
        "PUT", "/v1/conversations/c-low/policy/mode", {"mode": "acceptEdits", "by": "p1"}
    )
    turn_id = await shared.put(script, conversation="c-low")
    async for _, event in shared.caller.stream(f"/v1/turns/{turn_id}/events"):
        if event["kind"] == "text.delta":
            break
    assert (shared.work / "before.txt").exists()
    assert (await admin(shared, "/v1/policy/ceiling", {"ceiling": "default", "by": "p1"}))[0] == 200
    turn = Turn(turn_id, await shared.caller.events(turn_id))
    assert turn.decision["title"] == "Write after.txt"
    assert not (shared.work / "after.txt").exists()
    assert (await shared.decided(turn, "deny")).last["outcome"] == "completed"
    turn = await shared.turn(write("later.txt"), conversation="c-low")
    assert turn.decision["title"] == "Write later.txt"
    # Nor does raising it again let the waiting call by.
    assert (await admin(shared, "/v1/policy/ceiling", {"ceiling": None, "by": "p1"}))[0] == 200
    assert not (shared.work / "later.txt").exists()
    await shared.decided(turn, "deny")
    turn = await shared.turn(write("later.txt"), conversation="c-low")
    assert turn.last["outcome"] == "completed"
    assert (shared.work / "later.txt").exists()


async def refused_start(agent: ProcessAgent) -> str:
    """What a service that does not start says."""
    await agent.start(ready=False)
    await agent.caller.http.close()
    async with asyncio.timeout(60):
        assert await agent.process.wait() != 0
    return agent.log.read_text()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"agent_mode_ceiling": "bypassPermissions", "agent_sandbox": "off"}, "AGENT_SANDBOX"),
        ({"agent_mode_ceiling": "bypassPermissions"}, "ordinary user"),
    ],
)
async def test_bypass_is_only_for_those_who_can_bound_it(
    settings: dict[str, str], says: str
) -> None:
    """Without the sandbox, or as root, the service does not start and says what to do."""
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    # Whoever runs the tests, this service sees itself as root.
    before = () if os.geteuid() == 0 else ("unshare", "-r")
    made = ProcessAgent(
        home, ScriptedMessages(), before=before, agent_upstream_url="http://127.0.0.1:9", **settings
    )
    try:
        assert says in await refused_start(made)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize(
    ("mode", "ceiling"), [("bypassPermissions", "acceptEdits"), ("acceptEdits", "default")]
)
async def test_a_default_mode_above_the_ceiling_is_a_mistake(mode: Any, ceiling: Any) -> None:
    """AGENT_MODE above AGENT_MODE_CEILING is refused before anything starts, by name."""
    with pytest.raises(ValidationError, match="AGENT_MODE"):
        AgentSettings(_env_file=None, agent_mode=mode, agent_mode_ceiling=ceiling)


async def test_bypass_runs_all_but_what_is_denied(lax: OrdinaryAgent) -> None:
    """Where the operator allows it, everything runs unasked; a deny rule holds all the same, and
    so does one that is added while the turn runs."""
    place = {"conversation": "c-free", "workspace": "w-free", "mode": "bypassPermissions"}
    path = "/v1/workspaces/w-free/policy/rules"
    rule = {"behavior": "deny", "pattern": "Bash(curl *)", "by": "p1"}
    await lax.deciders("p1", workspace="w-free")
    assert (await lax.caller.call("PUT", path, rule))[0] == 200
    turn_id = await lax.put(
        "bash curl http://x.invalid\nbash echo ran > ran.txt\nslow 2 one two\nbash rm ran.txt",
        **place,
    )
    async for _, event in lax.caller.stream(f"/v1/turns/{turn_id}/events"):
        if event["kind"] == "text.delta":
            break
    rule = {"behavior": "deny", "pattern": "Bash(rm *)", "by": "p1"}
    assert (await lax.caller.call("PUT", path, rule))[0] == 200
    turn = Turn(turn_id, await lax.caller.events(turn_id))
    assert turn.last["outcome"] == "completed"
    assert [ok for ok, _ in turn.results()] == [False, True, False]
    assert (lax.home / "workspaces" / "w-free" / "work" / "ran.txt").read_text() == "ran\n"


async def test_planning_changes_nothing_whatever_is_allowed(shared: Agent) -> None:
    """A rule that allows edits does not hold while the agent plans."""
    path = "/v1/conversations/c-plan/policy/rules"
    rule = {"behavior": "allow", "pattern": "Edit(planned/**)", "by": "p1"}
    assert (await shared.caller.call("PUT", path, rule))[0] == 200
    turn = await shared.turn(write("planned/x.txt"), conversation="c-plan", mode="plan")
    assert turn.last["outcome"] == "completed"
    assert "plan mode" in turn.results()[-1][1]
    assert not (shared.work / "planned").exists()
    turn = await shared.turn(write("planned/x.txt"), conversation="c-plan", mode="default")
    assert (shared.work / "planned" / "x.txt").exists()
