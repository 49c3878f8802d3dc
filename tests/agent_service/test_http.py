"""The service's door, over real HTTP: what it takes, what it refuses, and what it says then."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from yarl import URL

from agent_service.contract.signing import Signer
from agent_service.contract.turns import PROMPT_LIMIT
from agent_service.http.app import MetaHandlers
from agent_service.http.audit import AuditHandlers
from agent_service.http.conversations import ConversationHandlers
from agent_service.http.credentials import CredentialHandlers
from agent_service.http.egress import EgressHandlers
from agent_service.http.metrics import MetricsHandlers
from agent_service.http.policy import PolicyHandlers
from agent_service.http.routes import ADMIN, BODY_LIMIT, BRIDGE, Route
from agent_service.http.turns import TurnHandlers
from agent_service.http.usage import UsageHandlers
from agent_service.http.workspaces import WorkspaceHandlers
from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import (
    Agent,
    Caller,
    ScriptedAgent,
    Turn,
    make_home,
    session_processes,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The table itself: handlers are not called, so they need nothing behind them.
ROUTES: list[Route] = [
    *MetaHandlers(None, lambda: True).routes(),  # type: ignore[arg-type]
    *TurnHandlers(None, None, None).routes(),  # type: ignore[arg-type]
    *PolicyHandlers(None, None, None).routes(),  # type: ignore[arg-type]
    *ConversationHandlers(None).routes(),  # type: ignore[arg-type]
    *WorkspaceHandlers(None, None, None, None).routes(),  # type: ignore[arg-type]
    *UsageHandlers(None).routes(),  # type: ignore[arg-type]
    *MetricsHandlers(None, None).routes(),  # type: ignore[arg-type]
    *CredentialHandlers(None, None, None, None).routes(),  # type: ignore[arg-type]
    *EgressHandlers(None, None, None).routes(),  # type: ignore[arg-type]
    *AuditHandlers(None).routes(),  # type: ignore[arg-type]
]
SIGNED = [route for route in ROUTES if not route.public]
BRIDGE_ONLY = [route for route in SIGNED if ADMIN not in route.callers]


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def filled(route: Route) -> str:
    """The route's path with ids in it."""
    path = route.path
    for part in ("turn_id", "decision_id", "conversation", "workspace", "credential", "sign_in",
                 "revocation"):  # fmt: skip
        path = path.replace("{" + part + "}", "x1")
    assert "{" not in path
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door() -> AsyncIterator[ScriptedAgent]:
    """One scripted service for the whole module."""
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    made = ScriptedAgent(home)
    await made.start()
    yield made
    await made.stop()
    shutil.rmtree(home, ignore_errors=True)


def new_path() -> str:
    return f"/v1/turns/t_{secrets.token_hex(8)}"


async def put(agent: Agent, body: Any) -> tuple[int, Any]:
    return await agent.caller.call("PUT", new_path(), body)


def told(answer: Any, code: str, field: str | None = None) -> None:
    """An error that programs can tell apart and people can read."""
    error = answer["error"]
    assert error["code"] == code
    assert error["message"]
    assert "Traceback" not in error["message"]
    if field is not None:
        assert error["field"] == field


async def raw(agent: Agent, method: str, path: str | URL, **how: Any) -> tuple[int, Any]:
    async with agent.caller.http.request(method, path, **how) as answer:
        return answer.status, await answer.json()


# ---- bad input ----


@pytest.mark.parametrize("prompt", ["", " ", "\n\t\u00a0 "])
async def test_an_empty_prompt_is_refused(door: ScriptedAgent, prompt: str) -> None:
    """Nothing to say is told as that, with what to do."""
    status, answer = await put(door, door.request(prompt))
    assert status == 400
    told(answer, "bad_request", "prompt")
    assert answer["error"]["remedy"]


async def test_a_prompt_has_its_limit(door: ScriptedAgent) -> None:
    """200,000 characters pass, whatever they are; one more is refused, quotes counted in."""
    for character in ("a", "é", "💧"):
        status, answer = await put(door, door.request(character * PROMPT_LIMIT))
        assert status == 200, answer
    status, answer = await put(door, door.request("a" * (PROMPT_LIMIT + 1)))
    assert status == 400
    told(answer, "bad_request", "prompt")
    assert "200,001" in answer["error"]["message"]
    assert answer["error"]["remedy"]
    quotes = [{"author": "Bob", "text": "a" * PROMPT_LIMIT}]
    status, answer = await put(door, door.request("hi", quotes=quotes))
    assert status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"prompt": "\xff"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"prompt": NaN}',
        b"{}" * 2,
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:16]),
)
async def test_a_body_that_is_no_request_is_refused(door: ScriptedAgent, body: bytes) -> None:
    """Invalid UTF-8, invalid JSON and JSON of another kind get an answer that says so."""
    status, answer = await put(door, body)
    assert status == 400
    told(answer, "bad_request")


async def test_a_lone_surrogate_does_no_harm(door: ScriptedAgent) -> None:
    """JSON can escape what is no character; it is refused or replaced, and never a failure."""
    body = json.dumps(door.request("x")).replace('"x"', '"say \\ud800"').encode()
    status, answer = await put(door, body)
    assert status in (200, 400)
    if status == 400:
        told(answer, "bad_request")


LEVELS: list[tuple[str, dict[str, Any]]] = [
    ("surprise", {"surprise": 1}),
    ("asker.surprise", {"asker": {"person": "p1", "surprise": 1}}),
    ("limits.surprise", {"limits": {"seconds": 5, "steps": 5, "surprise": 1}}),
    ("quotes.0.surprise", {"quotes": [{"author": "a", "text": "b", "surprise": 1}]}),
]


@pytest.mark.parametrize(("field", "change"), LEVELS)
async def test_an_unknown_field_is_named(
    door: ScriptedAgent, field: str, change: dict[str, Any]
) -> None:
    """A field nobody knows is refused at every level: a misspelt limit must not be ignored."""
    status, answer = await put(door, door.request("say hi", **change))
    assert status == 400
    told(answer, "bad_request", field)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("prompt", {"prompt": 5}),
    ("prompt", {"prompt": None}),
    ("prompt", {"prompt": ["a"]}),
    ("conversation", {"conversation": 5}),
    ("asker", {"asker": None}),
    ("asker", {"asker": "p1"}),
    ("asker.person", {"asker": {"name": "Ann"}}),
    ("asker.may_decide", {"asker": {"person": "p1", "may_decide": "yes"}}),
    ("mode", {"mode": "everything"}),
    ("limits", {"limits": 5}),
    ("limits.seconds", {"limits": {"seconds": "5"}}),
    ("limits.seconds", {"limits": {"seconds": 1.5}}),
    ("limits.seconds", {"limits": {"seconds": True}}),
    ("limits.seconds", {"limits": {"seconds": 0}}),
    ("limits.seconds", {"limits": {"seconds": -1}}),
    ("limits.seconds", {"limits": {"seconds": 86_401}}),
    ("limits.seconds", {"limits": {"seconds": 10**30}}),
    ("limits.steps", {"limits": {"steps": 0}}),
    ("quotes", {"quotes": "words"}),
    ("quotes.0.text", {"quotes": [{"author": "a"}]}),
]


@pytest.mark.parametrize(("field", "change"), WRONG, ids=[f"{f}-{c}" for f, c in WRONG])
async def test_a_wrong_type_is_named(
    door: ScriptedAgent, field: str, change: dict[str, Any]
) -> None:
    """Nothing is guessed: text is no number, and a number is no truth value."""
    status, answer = await put(door, {**door.request("say hi"), **change})
    assert status == 400, answer
    told(answer, "bad_request")
    assert answer["error"]["field"].startswith(field)


BAD_IDS = [
    "", ".", "..", "../w1", "w1/../w2", "a/b", "/etc", "a\\b", "a.b", "a b", "a\x00b", "w1\n", "-w",
    "_w", "ｗ1", "wé", "w1\u202e", "~", "%2e%2e", "a" * 65,
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_IDS, ids=repr)
@pytest.mark.parametrize("field", ["workspace", "conversation"])
async def test_an_id_is_only_a_name(door: ScriptedAgent, field: str, bad: str) -> None:
    """What could climb a path, end one or look like another id is no id."""
    before = sorted((door.home / "workspaces").iterdir())
    status, answer = await put(door, door.request("say hi", **{field: bad}))
    assert status == 400
    told(answer, "bad_request", field)
    assert answer["error"]["remedy"]
    assert sorted((door.home / "workspaces").iterdir()) == before


@pytest.mark.parametrize("bad", ["%2e%2e", "a%2fb", "a%00b", "a.b", "%ff", "é", "a" * 65])
async def test_an_id_in_a_path_is_only_a_name(door: ScriptedAgent, bad: str) -> None:
    """The same for ids that stand in the path, encoded or not."""
    path = str(URL(f"http://x/v1/turns/{bad}", encoded="%" in bad).raw_path)
    url = URL(f"http://agent{path}", encoded=True)
    headers = door.caller.header("GET", path)
    async with door.caller.http.get(url, headers=headers) as answer:
        assert answer.status in (400, 404)
        told(await answer.json(), "bad_request" if answer.status == 400 else "not_found")


async def test_the_same_id_and_body_changes_nothing(door: ScriptedAgent) -> None:
    """A caller that does not know whether it was heard asks again, in any order of fields."""
    path, body = new_path(), door.request("say once")
    first = await door.caller.call("PUT", path, body)
    assert first[0] == 200
    await door.caller.events(path.rpartition("/")[2])
    again = await door.caller.call("PUT", path, dict(reversed(body.items())))
    assert again[0] == 200
    assert again[1]["state"] == "finished"
    events = await door.caller.events(path.rpartition("/")[2])
    assert [e["text"] for _, e in events if e["kind"] == "text"] == ["once"]


async def test_the_same_id_for_another_body_is_refused(door: ScriptedAgent) -> None:
    """An id stands for one request for ever."""
    path = new_path()
    assert (await door.caller.call("PUT", path, door.request("say one")))[0] == 200
    status, answer = await door.caller.call("PUT", path, door.request("say two"))
    assert status == 409
    told(answer, "conflict")
    assert answer["error"]["remedy"]


async def test_a_conversation_stays_in_its_workspace(door: ScriptedAgent) -> None:
    """A conversation cannot be carried into somebody else's workspace."""
    await door.turn("say hi", conversation="c-stays", workspace="w1")
    status, answer = await put(door, door.request("hi", conversation="c-stays", workspace="w2"))
    assert status == 409
    told(answer, "conflict", "workspace")


async def test_two_at_once_put_one_turn(door: ScriptedAgent) -> None:
    """Twenty calls with the same id at the same time run one turn."""
    path, body = new_path(), door.request("say once", conversation="c-once")
    answers = await asyncio.gather(*(door.caller.call("PUT", path, body) for _ in range(20)))
    assert {status for status, _ in answers} == {200}
    _, view = await door.caller.call("GET", "/v1/conversations/c-once")
    assert view["turns"] == 1


async def test_nobody_can_ask_for_everything(door: ScriptedAgent) -> None:
    """No caller can have a turn in which nothing is asked."""
    status, answer = await put(door, door.request("say hi", mode="bypassPermissions"))
    assert status == 403
    told(answer, "forbidden", "mode")


@pytest.mark.asyncio(loop_scope="function")
async def test_without_a_sandbox_one_person_is_served(home: Path, model: ScriptedMessages) -> None:
    """It works, refuses a second workspace, and says what an operator has to do."""
    agent = Agent(home, model, agent_sandbox="off")
    await agent.start()
    assert (await agent.turn("say hi")).text == "hi"
    status, answer = await put(agent, agent.request("say hi", workspace="w2", conversation="c2"))
    assert status == 403
    told(answer, "forbidden")
    assert answer["error"]["remedy"]
    warm = await agent.caller.call("POST", "/v1/conversations/c2/warm", {"workspace": "w2"})
    assert warm[0] == 403
    assert not (agent.home / "workspaces" / "w2").exists()
    await agent.stop()
    assert session_processes(home) == []


# ---- size ----


async def test_a_body_has_its_limit(door: ScriptedAgent) -> None:
    """Too much is refused before it is read, where the length is told."""
    status, answer = await put(door, b" " * (BODY_LIMIT + 1))
    assert status == 413
    told(answer, "too_large")
    assert answer["error"]["remedy"]


async def test_a_body_without_length_has_its_limit(door: ScriptedAgent) -> None:
    """In chunks, without a length, it is refused as soon as it is too much."""
    path, body = new_path(), b" " * (BODY_LIMIT + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    headers = door.caller.header("PUT", path, body)
    status, answer = await raw(door, "PUT", path, data=chunks(), headers=headers)
    assert status == 413
    told(answer, "too_large")


async def test_a_body_in_chunks_is_as_good(door: ScriptedAgent) -> None:
    """How the body is cut changes nothing."""
    path, body = new_path(), json.dumps(door.request("say hi")).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for byte in body:
            yield bytes([byte])

    headers = door.caller.header("PUT", path, body)
    status, _ = await raw(door, "PUT", path, data=chunks(), headers=headers)
    assert status == 200


# ---- who may call ----


@pytest.mark.parametrize("route", SIGNED, ids=name)
async def test_an_unsigned_call_is_refused(door: ScriptedAgent, route: Route) -> None:
    """Every route that is not public refuses whoever does not sign."""
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Bascule x.y.z"}):
        status, answer = await raw(door, route.method, filled(route), headers=headers)
        assert status == 401
        told(answer, "not_authentic")
        assert answer["error"]["remedy"]


@pytest.mark.parametrize("route", SIGNED, ids=name)
async def test_a_wrongly_signed_call_is_refused(door: ScriptedAgent, route: Route) -> None:
    """A key of nobody, another path, another method, another service, another time or body."""
    path, now = filled(route), time.time()
    who, other = ("bridge", "admin") if BRIDGE in route.callers else ("admin", "bridge")
    keys = (door.home / "secrets" / f"{who}.keys").read_text().split()
    mine = Signer(who, "agent:main", keys)
    stranger = Signer(who, "agent:main", ["k" * 40])
    wrong = [
        stranger.header(route.method, path, b"", now=now),
        Signer(who, "agent:other", keys).header(route.method, path, b"", now=now),
        Signer(other, "agent:main", keys).header(route.method, path, b"", now=now),
        mine.header(route.method, path + "?after=1", b"", now=now),
        mine.header("PATCH", path, b"", now=now),
        mine.header(route.method, path, b"", now=now - 301),
        mine.header(route.method, path, b"", now=now + 60),
        mine.header(route.method, path, b"other", now=now),
    ]
    for header in wrong:
        headers = {"Authorization": header}
        status, answer = await raw(door, route.method, path, headers=headers)
        assert status == 401, answer
        told(answer, "not_authentic")


@pytest.mark.parametrize("route", BRIDGE_ONLY, ids=name)
async def test_the_admins_key_runs_no_turns(door: ScriptedAgent, route: Route) -> None:
    """A good signature of the wrong caller is told apart from a bad one."""
    admin = Caller(door.home, "admin")
    try:
        status, answer = await admin.call(route.method, filled(route))
    finally:
        await admin.http.close()
    assert status == 403
    told(answer, "forbidden")


async def test_every_caller_of_the_table_is_known() -> None:
    """No route names a caller that has no keys, and none that is not public names nobody."""
    for route in SIGNED:
        assert route.callers, name(route)
        assert route.callers <= {BRIDGE, ADMIN}


async def test_an_unknown_route_tells_strangers_nothing(door: ScriptedAgent) -> None:
    """Whoever signs learns that it does not exist; whoever does not learns nothing."""
    for method, path in (("GET", "/v2/anything"), ("DELETE", "/v1/turns/x1"), ("GET", "/")):
        status, answer = await raw(door, method, path)
        assert status == 401
        told(answer, "not_authentic")
        status, answer = await door.caller.call(method, path)
        assert status == 404
        told(answer, "not_found")
        assert answer["error"]["remedy"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/openapi.json"])
async def test_health_and_description_are_public(door: ScriptedAgent, path: str) -> None:
    """Those who watch and those who build need no key."""
    status, _ = await raw(door, "GET", path)
    assert status == 200


async def test_the_description_names_every_route(door: ScriptedAgent) -> None:
    """The served document is made from the table, and says which routes need a signature."""
    _, document = await raw(door, "GET", "/v1/openapi.json")
    described = {
        (method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert set(described) == {(r.method, r.path) for r in ROUTES}
    for route in ROUTES:
        assert bool(described[route.method, route.path]["security"]) is not route.public


@pytest.mark.asyncio(loop_scope="function")
async def test_a_call_is_good_once(home: Path) -> None:
    """A call that was heard is refused when it comes again, after a restart too."""
    agent = ScriptedAgent(home)
    await agent.start()
    path = "/v1/conversations/c1"
    headers = agent.caller.header("GET", path)
    assert (await raw(agent, "GET", path, headers=headers))[0] == 404
    assert (await raw(agent, "GET", path, headers=headers))[0] == 401
    await agent.stop()
    again = ScriptedAgent(home)
    await again.start()
    status, answer = await raw(again, "GET", path, headers=headers)
    await again.stop()
    assert status == 401
    assert "before" in answer["error"]["message"]


@pytest.mark.asyncio(loop_scope="function")
async def test_keys_rotate(home: Path) -> None:
    """With two keys in the file both are accepted, so that callers can change one by one."""
    file = home / "secrets" / "bridge.keys"
    old = file.read_text().strip()
    new = secrets.token_urlsafe(48)
    agent = ScriptedAgent(home)
    file.write_text(f"{old}\n{new}\n")
    await agent.start()
    try:
        for key, wanted in ((old, 404), (new, 404), ("k" * 64, 401)):
            agent.caller.signer = Signer("bridge", "agent:main", [key])
            assert (await agent.caller.call("GET", "/v1/turns/x1"))[0] == wanted
    finally:
        await agent.stop()


# ---- what becomes of it ----


async def test_an_answer_to_nothing_is_refused(door: ScriptedAgent) -> None:
    """Decisions of no turn, of another turn, or by nobody are refused."""
    turn = await door.turn("bash touch x", conversation="c-decide")
    other = await door.turn("say hi", conversation="c-other")
    decision = turn.decision["id"]
    allow = {"outcome": "allow", "decided_by": "p1"}
    for path, body, wanted in (
        (f"/v1/turns/none/decisions/{decision}", allow, 404),
        (f"/v1/turns/{other.id}/decisions/{decision}", allow, 404),
        (f"/v1/turns/{turn.id}/decisions/none", allow, 404),
        (f"/v1/turns/{turn.id}/decisions/{decision}", {**allow, "decided_by": ""}, 400),
        (f"/v1/turns/{turn.id}/decisions/{decision}", {**allow, "outcome": "maybe"}, 400),
        (f"/v1/turns/{turn.id}/decisions/{decision}", {**allow, "scope": "always"}, 400),
    ):
        status, answer = await door.caller.call("POST", path, body)
        assert status == wanted, answer
    assert (await door.decide(turn, "deny"))[0] == 200


async def test_the_first_answer_wins(door: ScriptedAgent) -> None:
    """Of ten answers at the same time one counts; the others are told whose."""
    await door.deciders(*(f"p{n}" for n in range(10)))
    turn = await door.turn("bash touch x", conversation="c-first")
    answers = await asyncio.gather(
        *(door.decide(turn, "allow", decided_by=f"p{n}") for n in range(10))
    )
    won = [answer for status, answer in answers if status == 200]
    assert len(won) == 1
    lost = [answer["error"] for status, answer in answers if status == 409]
    assert len(lost) == 9
    assert {error["decided_by"] for error in lost} == {won[0]["decided_by"]}


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "٣", "9" * 19, ""])
async def test_a_number_is_a_number(door: ScriptedAgent, after: str) -> None:
    """Where to go on from is a whole number, or the call is refused."""
    turn_id = await door.put("say hi", conversation="c-number")
    path = URL(f"http://agent/v1/turns/{turn_id}/events").with_query(after=after).raw_path_qs
    headers = door.caller.header("GET", path)
    status, answer = await raw(
        door, "GET", URL(f"http://agent{path}", encoded=True), headers=headers
    )
    assert status == 400
    told(answer, "bad_request", "after")


async def test_the_feed_tells_what_becomes_of_turns(door: ScriptedAgent) -> None:
    """Each change of state is in the feed, in order, and can be read again from any number."""
    turn = await door.turn("bash touch x", conversation="c-feed")
    await door.decided(turn, "deny")
    states = []
    async with asyncio.timeout(30):
        async for _, entry in door.caller.stream("/v1/feed?after=0"):
            if entry["turn_id"] == turn.id:
                states.append(entry["state"])
            if states[-1:] == ["finished"]:
                break
    assert states == ["running", "waiting", "running", "finished"]


@pytest.mark.asyncio(loop_scope="function")
async def test_the_request_id_stands_in_the_log(process: Any) -> None:
    """What the caller named its request stands beside what the service logs about it."""
    turn_id = f"t_{secrets.token_hex(8)}"
    path, body = f"/v1/turns/{turn_id}", json.dumps(process.request("say hi")).encode()
    header = process.caller.signer.header("PUT", path, body, now=time.time(), request_id="r-0451")
    headers = {"Authorization": header}
    assert (await raw(process, "PUT", path, data=body, headers=headers))[0] == 200
    assert Turn(turn_id, await process.caller.events(turn_id)).last["outcome"] == "completed"
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    assert {line.get("request_id") for line in lines if line["event"] == "turn.queued"} == {
        "r-0451"
    }
    assert any(line["event"] == "turn.finished" and line["turn_id"] == turn_id for line in lines)
