"""Rules to allow, ask and deny: what is taken, when it acts, and what is offered, with the real
CLI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_service.contract.errors import BadRequest
from agent_service.contract.policy import RULE_LIMIT, RULES_LIMIT
from agent_service.policy.rules import checked, parse
from agent_service.policy.suggest import suggestion
from tests.agent_service.agent import Agent, Caller, Turn, session_processes

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORK = Path("/w")
RULE_TEXT = st.text(max_size=80) | st.builds(
    lambda tool, content: f"{tool}({content})",
    st.sampled_from(["Bash", "Edit", "Read", "WebFetch", "mcp__x__y", "Write", "Grep"]),
    st.lists(
        st.sampled_from([*"abc *?:./~[]!-=$(){}\\'\"", "domain:", "**", "bash", "é"]), max_size=12
    ).map("".join),
)
WORDS = st.lists(
    st.sampled_from([*"abcgit rnu-/.'\"$()\\*=;&|", "git ", "npm run ", "touch "]), max_size=12
).map("".join)


async def add(agent: Agent, place: str, behavior: str, pattern: str) -> tuple[int, Any]:
    """Add a rule; the deployment's are the web admin's."""
    caller = Caller(agent.home, "bridge" if place else "admin")
    body = {"behavior": behavior, "pattern": pattern, "by": "p1"}
    try:
        return await caller.call("PUT", f"/v1{place}/policy/rules", body)
    finally:
        await caller.http.close()


async def take_back(agent: Agent, place: str, behavior: str, pattern: str) -> tuple[int, Any]:
    caller = Caller(agent.home, "bridge" if place else "admin")
    body = {"behavior": behavior, "pattern": pattern, "by": "p1"}
    try:
        return await caller.call("DELETE", f"/v1{place}/policy/rules", body)
    finally:
        await caller.http.close()


async def until_words(agent: Agent, turn_id: str) -> None:
    """Wait until the turn's slow words began."""
    async for _, event in agent.caller.stream(f"/v1/turns/{turn_id}/events"):
        if event["kind"] == "text.delta":
            return


def bash(command: str) -> str:
    return f"tool Bash {json.dumps({'command': command})}"


# ---- what is taken ----


@given(RULE_TEXT, st.sampled_from(["allow", "ask", "deny", "two_people"]))
@example("Bash(:* )", "allow")
@example("Bash(A= *)", "allow")
@example("Bash()", "allow")
async def test_a_rule_is_taken_or_refused_with_words(text: str, behavior: Any) -> None:
    """Whatever is written, it is a rule or is refused with what to do; what is taken reads back."""
    try:
        rule = checked(behavior, text)
    except BadRequest as error:
        words = (error.message, error.remedy)
    else:
        words = (str(rule), "taken")
        assert parse(str(rule)) == rule
        for given_to in ({"command": text}, {"url": text}, {"file_path": text}, {}):
            assert rule.covers(rule.tool, given_to, WORK) in (True, False)
    assert all(words)


WIDE = [
    "Bash", "Bash(*)", "Bash(**)", "Bash(:*)", "Bash( *)", "Bash(bash *)", "Bash(bash:*)",
    "Bash(/bin/sh -c *)", "Bash(env *)", "Bash(sudo *)", "Bash(X=1 sh *)", "Bash(X=* ls)",
    "Bash(python3 *)", "Bash(python3.11 -c *)", "Bash(node -e *)", "Bash(b*)", "Bash(find *)",
    "Edit", "Write", "Edit(**)", "Edit(*)", "Edit(./**)", "Edit(**/*)", "Edit(?*)",
    "Edit([a-z]*)", "Edit(//**)", "Edit(/**)", "Edit(~/**)", "Edit(../**)", "Edit(a/../../**)",
    "Read", "Read(//etc/**)", "WebFetch", "WebFetch(domain:*)", "WebFetch(domain:*.org)",
    "WebSearch", "Agent",
]  # fmt: skip
NO_RULES = [
    ("", "not a rule"), ("Bash(", "not a rule"), ("ls -la", "not a rule"), ("Bash(a\nb)", "not a"),
    ("Bash(a\u202eb)", "not a rule"), ("x" * (RULE_LIMIT + 1), "not a rule"),
    ("Bsah(ls)", "no tool"), ("Write(a.txt)", "Edit(a.txt)"), ("Grep(x)", "cannot say"),
    ("WebFetch(https://x.org)", "domain"),
]  # fmt: skip


@pytest.mark.parametrize("pattern", WIDE)
async def test_nothing_too_wide_is_allowed(shared: Agent, pattern: str) -> None:
    """A rule that lets nearly everything through cannot allow; to ask or deny it is fine."""
    status, answer = await add(shared, "/workspaces/w-wide", "allow", pattern)
    assert status == 400, answer
    assert "too much" in answer["error"]["message"]
    assert answer["error"]["field"] == "pattern"
    assert (await add(shared, "/workspaces/w-wide", "deny", pattern))[0] == 200


@pytest.mark.parametrize(("pattern", "says"), NO_RULES)
async def test_what_would_do_nothing_is_refused(shared: Agent, pattern: str, says: str) -> None:
    """A rule that the CLI would not read is refused in words that help."""
    for behavior in ("allow", "deny"):
        status, answer = await add(shared, "/workspaces/w-none", behavior, pattern)
        assert status == 400
        assert says in answer["error"]["message"] + answer["error"]["remedy"]


async def test_one_place_holds_so_many_rules(shared: Agent) -> None:
    """The one after the last is refused; one that is there already is not another."""
    for number in range(RULES_LIMIT):
        status, _ = await add(shared, "/conversations/c-many", "deny", f"Bash(x{number})")
        assert status == 200
    status, answer = await add(shared, "/conversations/c-many", "deny", "Bash(more)")
    assert (status, str(RULES_LIMIT) in answer["error"]["message"]) == (409, True)
    assert (await add(shared, "/conversations/c-many", "deny", "Bash(x1)"))[0] == 200
    assert (await take_back(shared, "/conversations/c-many", "deny", "Bash(x1)"))[0] == 200
    assert (await add(shared, "/conversations/c-many", "deny", "Bash(more)"))[0] == 200


async def test_the_deployment_is_the_admins(shared: Agent) -> None:
    """The bridge sets nothing for the deployment, and only there two people are asked for."""
    body = {"behavior": "deny", "pattern": "Bash(x)", "by": "p1"}
    assert (await shared.caller.call("PUT", "/v1/policy/rules", body))[0] == 403
    assert (await shared.caller.call("DELETE", "/v1/policy/rules", body))[0] == 403
    status, answer = await add(shared, "/workspaces/w1", "two_people", "Bash(x)")
    assert (status, answer["error"]["field"]) == (400, "behavior")


# ---- what they do ----


@pytest.mark.parametrize("place", ["", "/workspaces/w1", "/conversations/c-places"])
async def test_rules_of_every_place_hold(shared: Agent, place: str) -> None:
    """Allow lets by, ask asks although another rule allows, deny refuses although others do not."""
    at = {"conversation": "c-places"}
    assert (await add(shared, place, "allow", "Bash(python3 *.py)"))[0] == 400
    assert (await add(shared, place, "allow", "Bash(uname *)"))[0] == 200
    turn = await shared.turn(bash("uname -s"), **at)
    assert turn.last["outcome"] == "completed"
    assert turn.results() == [(True, "Linux")]
    await add(shared, place, "ask", "Bash(uname -s)")
    turn = await shared.turn(bash("uname -s"), **at)
    assert "rule Bash(uname -s) says to ask" in turn.decision["why"]
    await shared.decided(turn, "deny")
    await add(shared, place, "deny", "Bash(uname -s)")
    turn = await shared.turn(bash("uname -s") + "\n" + bash("uname -m"), **at)
    assert turn.last.get("outcome") == "completed", turn.events
    assert [ok for ok, _ in turn.results()] == [False, True]
    for behavior, pattern in (("deny", "uname -s"), ("ask", "uname -s"), ("allow", "uname *")):
        assert (await take_back(shared, place, behavior, f"Bash({pattern})"))[0] == 200
    turn = await shared.turn(bash("uname -s"), **at)
    assert turn.last["kind"] == "turn.waiting"
    await shared.decided(turn, "deny")


@pytest.mark.parametrize("mode", ["default", "acceptEdits", "plan", "dontAsk"])
async def test_deny_holds_in_every_mode(shared: Agent, mode: str) -> None:
    """What is denied is neither run nor asked about, whatever the mode (bypassPermissions:
    test_modes.py)."""
    await add(shared, "/workspaces/w1", "deny", "Bash(cat secret*)")
    await add(shared, "/workspaces/w1", "deny", "Read(secret/**)")
    await add(shared, "/workspaces/w1", "deny", "Edit(secret/**)")
    (shared.work / "secret").mkdir(exist_ok=True)
    (shared.work / "secret" / "x").write_text("x")
    script = f"{bash('cat secret/x')}\nread secret/x\nwrite secret/y text"
    turn = await shared.turn(script, conversation="c-deny", mode=mode)
    assert turn.last["outcome"] == "completed"
    assert [ok for ok, _ in turn.results()] == [False, False, False]
    assert not (shared.work / "secret" / "y").exists()


@pytest.mark.parametrize("place", ["", "/workspaces/w1", "/conversations/c-since"])
async def test_deny_holds_for_what_waits(shared: Agent, place: str) -> None:
    """A call that was asked about before the rule came cannot be allowed any more, which is told
    with the rule; it can be denied, and allowed once the rule is taken back."""
    turn = await shared.turn("run touch since.txt then say well", conversation="c-since")
    assert (await add(shared, place, "deny", "Bash(touch since*)"))[0] == 200
    status, answer = await shared.decide(turn, "allow")
    assert (status, answer["error"]["code"]) == (409, "conflict")
    assert "`Bash(touch since*)`" in answer["error"]["message"]
    assert not (shared.work / "since.txt").exists()
    assert (await take_back(shared, place, "deny", "Bash(touch since*)"))[0] == 200
    done = await shared.decided(turn, "allow")
    assert done.last["outcome"] == "completed"
    (shared.work / "since.txt").unlink()


async def test_ask_does_not_let_dont_ask_by(shared: Agent) -> None:
    """Where nothing is asked, what a rule says to ask is refused."""
    await add(shared, "/conversations/c-dont", "ask", "Bash(ls *)")
    turn = await shared.turn(bash("ls -a"), conversation="c-dont", mode="dontAsk")
    assert turn.last["outcome"] == "completed"
    assert [ok for ok, _ in turn.results()] == [False]


async def test_rules_act_in_the_middle_of_a_turn(shared: Agent) -> None:
    """Added and taken back while the turn talks: the next call is judged by what holds then."""
    at = {"conversation": "c-middle"}
    place = "/conversations/c-middle"
    await shared.turn("say hi", **at)
    script = f"slow 1.5 one two three\n{bash('id -u')}\nslow 1.5 four five\n{bash('id -g')}"
    turn_id = await shared.put(script, **at)
    await until_words(shared, turn_id)
    assert (await add(shared, place, "allow", "Bash(id *)"))[0] == 200
    async for _, event in shared.caller.stream(f"/v1/turns/{turn_id}/events"):
        if event["kind"] == "tool.finished":
            assert event["ok"]
            break
    assert (await take_back(shared, place, "allow", "Bash(id *)"))[0] == 200
    turn = Turn(turn_id, await shared.caller.events(turn_id))
    assert turn.decision["shown"] == "id -g"
    await shared.decided(turn, "deny")


async def test_a_wider_mode_or_rule_runs_nothing_that_waits(shared: Agent) -> None:
    """A call waits; the mode is widened and a rule would allow it now: it still waits, and denied
    it never ran."""
    at = {"conversation": "c-waits"}
    turn = await shared.turn("write waits.txt hi", **at)
    await add(shared, "/conversations/c-waits", "allow", "Edit(./waits.txt)")
    path = "/v1/conversations/c-waits/policy/mode"
    body = {"mode": "acceptEdits", "by": "p1"}
    assert (await shared.caller.call("PUT", path, body))[0] == 200
    await shared.caller.call("POST", "/v1/conversations/c-waits/warm", {"workspace": "w1"})
    assert not (shared.work / "waits.txt").exists()
    turn = await shared.decided(turn, "deny")
    assert turn.last["outcome"] == "completed"
    assert not (shared.work / "waits.txt").exists()
    # The next one is another call, and the mode lets it by.
    assert (await shared.turn("write waits.txt hi", **at)).last["outcome"] == "completed"
    assert (shared.work / "waits.txt").exists()


async def test_a_mode_changed_in_the_middle_acts_at_once(shared: Agent) -> None:
    """From default to acceptEdits while the turn talks, and back."""
    at = {"conversation": "c-mode"}
    await shared.turn("say hi", **at)
    path = "/v1/conversations/c-mode/policy/mode"
    script = "slow 1.5 one two three\nwrite m1.txt hi\nslow 1.5 four five\nwrite m2.txt hi"
    turn_id = await shared.put(script, **at)
    await until_words(shared, turn_id)
    await shared.caller.call("PUT", path, {"mode": "acceptEdits", "by": "p1"})
    async for _, event in shared.caller.stream(f"/v1/turns/{turn_id}/events"):
        if event["kind"] == "tool.finished":
            assert event["ok"], event
            break
    await shared.caller.call("PUT", path, {"mode": "default", "by": "p1"})
    turn = Turn(turn_id, await shared.caller.events(turn_id))
    assert turn.decision["title"] == "Write m2.txt"
    assert (shared.work / "m1.txt").exists()
    await shared.decided(turn, "deny")


# ---- what is offered ----

OFFERED = [
    ("git status --short", "git status", "git push", "Bash(git status *)"),
    ("touch a.txt", "touch b.txt", "mkdir b", "Bash(touch *)"),
    ("npm run build", "npm run build -- --x", "npm run deploy", "Bash(npm run build *)"),
    ("python3 -V", "python3 -V", "python3 -VV", "Bash(python3 -V)"),
    ("printf 'a\\tb (c)'", "printf 'a\\tb (c)'", "printf 'a\\tb (d)'",
     r"Bash(printf 'a\\tb \(c\)')"),
    ("python3 -c 'print(1)'", "python3 -c 'print(1)'", "python3 -c 'print(2)'",
     r"Bash(python3 -c 'print\(1\)')"),
    ("uv run python3 -V", "uv run python3 -V", "uv run python3 x", "Bash(uv run python3 -V)"),
]  # fmt: skip
# One of each kind in every run: a subcommand, any words, the very command.
QUICK = {OFFERED[0], OFFERED[1], OFFERED[5]}
TIERED = [pytest.param(*o, marks=() if o in QUICK else pytest.mark.full) for o in OFFERED]


@pytest.mark.parametrize(("command", "alike", "other", "rule"), TIERED, ids=lambda value: value)
async def test_an_offered_rule_means_its_words(
    shared: Agent, command: str, alike: str, other: str, rule: str
) -> None:
    """Allowed for the conversation, the CLI lets by what the words say and nothing else."""
    at = {"conversation": f"c-{abs(hash(command))}"}
    turn = await shared.turn(bash(command), **at)
    assert turn.decision["pattern"] == rule
    turn = await shared.decided(turn, "allow", scope="conversation")
    assert turn.last["outcome"] == "completed"
    script = f"{bash(alike)}\n{bash(other)}"
    turn = await shared.turn(script, **at)
    assert turn.decision["shown"] == other
    assert len(turn.results()) == 1
    await shared.decided(turn, "deny")
    for trick in (f"{alike}; id", f"{alike} $(id)", f"{alike} > out", f"{alike}\nid"):
        turn = await shared.turn(bash(trick), **at)
        assert turn.decision["shown"] == trick
        await shared.caller.call("POST", f"/v1/turns/{turn.id}/interrupt", {"by": "p1"})
    await shared.caller.call("POST", f"/v1/conversations/{at['conversation']}/close")


EDITS = [
    ("sub/dir/a.txt", "sub/dir/b.txt", ["sub/c.txt", "x/sub/dir/c.txt"], "Edit(sub/dir/**)"),
    ("my dir/a.txt", "my dir/b/c.txt", ["c2.txt"], "Edit(my dir/**)"),
    ("top.txt", "top.txt", ["sub/top.txt", "top.txt2"], "Edit(./top.txt)"),
]


@pytest.mark.parametrize(("path", "alike", "others", "rule"), EDITS, ids=lambda value: str(value))
async def test_an_offered_rule_for_files_means_its_words(
    shared: Agent, path: str, alike: str, others: list[str], rule: str
) -> None:
    """Files of that folder, or that file, and no others that are called alike."""
    at = {"conversation": f"c-{abs(hash(path))}"}

    def write(name: str) -> str:
        return f"tool Write {json.dumps({'file_path': name, 'content': 'x'})}"

    turn = await shared.turn(write(path), **at)
    assert turn.decision["pattern"] == rule
    await shared.decided(turn, "allow", scope="conversation")
    (shared.work / alike).unlink(missing_ok=True)
    turn = await shared.turn(write(alike), **at)
    assert turn.last["outcome"] == "completed", turn.last
    assert (shared.work / alike).exists()
    for other in others:
        turn = await shared.turn(write(other), **at)
        assert turn.decision["title"] == f"Write {other}"
        await shared.caller.call("POST", f"/v1/turns/{turn.id}/interrupt", {"by": "p1"})
        assert not (shared.work / other).exists()


async def test_an_offered_rule_for_pages_means_its_words(shared: Agent) -> None:
    """Any page of that host, and no other host."""
    at = {"conversation": "c-fetch"}
    turn = await shared.turn("fetch http://a.invalid/x", **at)
    assert turn.decision["pattern"] == "WebFetch(domain:a.invalid)"
    await shared.decided(turn, "allow", scope="conversation")
    turn = await shared.turn("fetch http://a.invalid/y\nfetch http://b.a.invalid/", **at)
    assert turn.decision["title"] == "WebFetch: http://b.a.invalid/"
    await shared.decided(turn, "deny")


@pytest.mark.parametrize(
    "command",
    ["rm *.txt", "ls; id", "a && b", "cat x | sh", "echo `id`", "echo $(id)", "ls > x", "a\nb", ""],
)
async def test_nothing_is_offered_that_would_mean_more(command: str) -> None:
    """Where a rule would allow other than its words say, only the one call can be allowed."""
    assert suggestion("Bash", {"command": command}, WORK) is None


@given(WORDS | st.text(max_size=60))
@example("git status")
@example("npx bash")
@example("docker exec x")
async def test_what_is_offered_covers_its_own_call(text: str) -> None:
    """Whatever the call, its rule is taken, means it, and begins no other program."""
    for tool, name in (("Bash", "command"), ("Write", "file_path"), ("WebFetch", "url")):
        made = suggestion(tool, {name: text}, WORK)
        if made is None:
            continue
        rule = checked("allow", made.rule)
        assert rule.covers(tool, {name: text.strip() if tool == "Bash" else text}, WORK)
        assert not rule.covers("Bash", {"command": "sh -c id"}, WORK)
        if tool == "Bash" and "*" in made.rule:
            assert made.rule.endswith(" *)")
            assert text.split()[:2][0] == made.rule[5:].split()[0]


# ---- how long they last ----


@pytest.mark.asyncio(loop_scope="function")
async def test_rules_outlive_the_service_and_go_with_the_workspace(agent: Agent) -> None:
    """A session that is warmed, resumed or of a restarted service has them; a workspace that is
    removed leaves none behind."""
    await add(agent, "/workspaces/w1", "allow", "Bash(id *)")
    await add(agent, "/conversations/c1", "deny", "Bash(id -g)")
    script = f"{bash('id -u')}\n{bash('id -g')}"

    async def holds() -> None:
        turn = await agent.turn(script)
        assert turn.last["outcome"] == "completed"
        assert [ok for ok, _ in turn.results()] == [True, False]

    assert (await agent.caller.call("POST", "/v1/conversations/c1/warm", {"workspace": "w1"}))[
        0
    ] < 300
    await holds()
    await agent.caller.call("POST", "/v1/conversations/c1/close")
    assert session_processes(agent.home) == []
    await holds()
    await agent.stop()
    await agent.start()
    await holds()
    # Also after a decision in between, which the session was resumed for.
    turn = await agent.turn("bash uname")
    turn = await agent.decided(turn, "allow")
    await holds()
    status, answer = await agent.caller.call("DELETE", "/v1/workspaces/w1")
    assert status == 200, answer
    for place in ("workspaces/w1", "conversations/c1"):
        _, view = await agent.caller.call("GET", f"/v1/{place}/policy")
        assert (view["rules"], view["deciders"]) == ([], [])
