"""The bridge's signed calls for the web admin: nothing without a signature, each once."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from adapters.contract import Identity, Sender
from agent_service.contract.signing import Signer
from bridge.contract import AUDIENCE
from bridge.http_api.guard import FORGET_EVERY
from bridge.store.schema import seen
from tests.bridge.house import House

POSTGRES_TOO = "full"
ADA = Sender(Identity("memory", "t", "ada"), "Ada 100%")


def signer(
    home: Path, caller: str = "admin", audience: str = AUDIENCE, file: str = "admin.keys"
) -> Signer:
    return Signer(caller, audience, (home / "secrets" / file).read_text().split())


async def call(
    house: House, method: str, path: str, header: str, body: Any = None
) -> tuple[int, Any]:
    connector = aiohttp.UnixConnector(str(house.home / "run" / "bridge.sock"))
    raw = b"" if body is None else json.dumps(body).encode()
    headers = {"Authorization": header} if header else {}
    async with aiohttp.ClientSession(connector=connector) as http:
        async with http.request(method, f"http://b{path}", data=raw, headers=headers) as answer:
            return answer.status, await answer.json()


async def test_a_signed_call_is_answered_once(up: House) -> None:
    """The same token a second time is refused as made before."""
    header = signer(up.home).header("GET", "/v1/status", b"", now=time.time())
    status, told = await call(up, "GET", "/v1/status", header)
    assert (status, told["claim"]) == (200, {"needed": True})
    status, told = await call(up, "GET", "/v1/status", header)
    assert (status, "made before" in told["error"]["message"]) == (401, True)


@pytest.mark.parametrize(
    ("caller", "audience", "file", "path", "age"),
    [
        ("admin", AUDIENCE, "bridge.keys", "/v1/status", 0),
        ("bridge", AUDIENCE, "admin.keys", "/v1/status", 0),
        ("admin", "agent:main", "admin.keys", "/v1/status", 0),
        ("admin", AUDIENCE, "admin.keys", "/v1/people", 0),
        ("admin", AUDIENCE, "admin.keys", "/v1/status", 301),
        ("admin", AUDIENCE, "links.keys", "/v1/status", 0),
    ],
)
async def test_any_other_signature_is_refused(
    up: House, caller: str, audience: str, file: str, path: str, age: float
) -> None:
    """Another key, caller, service, path, or an old one."""
    made = signer(up.home, caller, audience, file)
    header = made.header("GET", path, b"", now=time.time() - age)
    status, told = await call(up, "GET", "/v1/status", header)
    assert (status, told["error"]["code"]) == (401, "not_authentic")


async def test_nothing_is_public(up: House) -> None:
    """Without a signature no route answers, known or not."""
    for path in ("/v1/status", "/v1/people", "/healthz", "/nowhere"):
        status, _ = await call(up, "GET", path, "")
        assert status == 401
    header = signer(up.home).header("GET", "/v1/nowhere", b"", now=time.time())
    status, _ = await call(up, "GET", "/v1/nowhere", header)
    assert status == 404


async def test_the_body_is_the_one_that_was_signed(up: House) -> None:
    """Another body under the same signature is not looked at; a wrong field is named."""
    signed = signer(up.home).header("POST", "/v1/people", b"{}", now=time.time())
    status, _ = await call(up, "POST", "/v1/people", signed, {"code": "X", "by": "p_1"})
    assert status == 401
    body = {"code": "X", "by": "p_1", "more": 1}
    raw = json.dumps(body).encode()
    signed = signer(up.home).header("POST", "/v1/people", raw, now=time.time())
    status, told = await call(up, "POST", "/v1/people", signed, body)
    assert (status, told["error"]["field"]) == (400, "more")


async def test_who_acts_is_looked_up(up: House) -> None:
    """An id of nobody, or of a member, does nothing for the admin either."""
    for by in ("p_nobody",):
        for method, path, body in (
            ("POST", "/v1/people", {"code": "ABCD", "by": by}),
            ("PUT", "/v1/people/p_x/role", {"role": "operator", "by": by}),
            ("POST", "/v1/people/p_x/end", {"how": "removed", "by": by}),
            ("POST", "/v1/access", {"platform": "m", "tenant": "t", "kind": "team", "value": "",
                                    "by": by}),
        ):  # fmt: skip
            raw = json.dumps(body).encode()
            header = signer(up.home).header(method, path, raw, now=time.time())
            status, _ = await call(up, method, path, header, body)
            assert status == 403, path


async def asked(house: House, method: str, path: str, body: Any = None) -> Any:
    """A good call; its answer."""
    raw = b"" if body is None else json.dumps(body).encode()
    header = signer(house.home).header(method, path, raw, now=time.time())
    status, told = await call(house, method, path, header, body)
    assert status == 200, told
    return told


async def test_people_as_the_admin_sees_them(up: House) -> None:
    """Who asks is let in by their code, found by a part of their name in which a wildcard is a
    letter, given a role, blocked; each in the name of a person who may."""
    await up.command("whoami")
    await up.command("whoami", sender=ADA)
    page = await asked(up, "GET", "/v1/people")
    (owner,) = page["people"]
    (stranger,) = page["strangers"]
    let = {"code": stranger["code"], "by": owner["id"]}
    assert "is let in as member" in (await asked(up, "POST", "/v1/people", let))["text"]
    (ada,) = (await asked(up, "GET", "/v1/people?q=100%25"))["people"]
    assert (ada["name"], ada["accounts"][0]["user"]) == ("Ada 100%", "ada")
    assert (await asked(up, "GET", "/v1/people?q=1%25%25"))["people"] == []
    assert (await asked(up, "GET", f"/v1/people?q={ada['workspace']}"))["people"] == [ada]
    role = {"role": "admin", "by": owner["id"]}
    await asked(up, "PUT", f"/v1/people/{ada['id']}/role", role)
    end = {"how": "blocked", "by": owner["id"]}
    assert "blocked" in (await asked(up, "POST", f"/v1/people/{ada['id']}/end", end))["text"]
    assert (await asked(up, "GET", f"/v1/people/{ada['id']}"))["role"] == "blocked"
    rule = {"platform": "memory", "tenant": "t", "kind": "team", "value": "", "by": owner["id"]}
    await asked(up, "POST", "/v1/access", rule)
    (kept,) = await asked(up, "GET", "/v1/access")
    await asked(up, "POST", f"/v1/access/{kept['number']}/remove", {"by": owner["id"]})
    assert await asked(up, "GET", "/v1/access") == []


async def test_conversations_as_the_admin_sees_them(up: House) -> None:
    """By their state and title, with what was said; what waits for a decision; and stopping."""
    await up.say("say 50% done", "c1")
    await up.quiet("c1")
    await up.say("bash touch x.txt", "c2")
    await up.card("c2")
    await up.say("say this one waits behind it", "c2")
    found = (await asked(up, "GET", "/v1/conversations"))["conversations"]
    assert [one["state"] for one in found] == ["waiting", "idle"]
    (waiting,) = (await asked(up, "GET", "/v1/conversations?state=waiting"))["conversations"]
    assert (waiting["title"], waiting["queued"]) == ("bash touch x.txt", 1)
    (idle,) = (await asked(up, "GET", "/v1/conversations?q=50%25"))["conversations"]
    detail = await asked(up, "GET", f"/v1/conversations/{idle['id']}")
    assert [(m["text"], m["state"]) for m in detail["messages"]] == [("say 50% done", "done")]
    (decision,) = await asked(up, "GET", "/v1/decisions")
    assert decision["shown"]["shown"] == "touch x.txt"
    assert decision["deciders"] == [waiting["owner"]]
    status = await asked(up, "GET", "/v1/status")
    assert (status["waiting"], status["queued"], status["people"]) == (1, 1, 1)
    stop = f"/v1/conversations/{waiting['id']}/stop"
    assert (await asked(up, "POST", stop, {"by": waiting["owner"]}))["text"].startswith("2 mess")
    async with asyncio.timeout(20):
        while (await asked(up, "GET", f"/v1/conversations/{waiting['id']}"))["conversation"][
            "state"
        ] != "idle":
            await asyncio.sleep(0.01)
    assert (await asked(up, "POST", stop, {"by": waiting["owner"]}))["text"].startswith("Nothing")
    assert await asked(up, "GET", "/v1/decisions") == []


async def test_old_calls_are_forgotten(up: House) -> None:
    """What no token can repeat any more is not kept; what one could is."""
    old = [{"key": f"admin:call:old{n}", "at": time.time() - 400} for n in range(20)]
    await up.bridge.db.tx(lambda con: con.execute(seen.insert(), old).rowcount)
    made = signer(up.home)
    for _ in range(FORGET_EVERY):
        header = made.header("GET", "/v1/claim", b"", now=time.time())
        assert (await call(up, "GET", "/v1/claim", header))[0] == 200
    count = sa.select(sa.func.count()).where(seen.c.key.like("admin:call:%"))
    assert await up.bridge.db.tx(lambda con: con.scalar(count)) == FORGET_EVERY


async def test_without_keys_there_is_no_socket(house: House) -> None:
    """A bridge without the admin's keys serves no web admin, and works."""
    (house.home / "secrets" / "admin.keys").unlink()
    await house.start()
    assert not (house.home / "run" / "bridge.sock").exists()


async def test_the_socket_is_the_users_own(up: House) -> None:
    """Nobody else on the machine can connect, and it is gone with the bridge."""
    socket = up.home / "run" / "bridge.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    await up.bridge.stop()
    assert not socket.exists()
