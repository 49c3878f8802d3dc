"""Credentials at rest, in use and over the API: never shown, and told about in words."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from agent_service.contract.credentials import NewCredential
from agent_service.contract.errors import BadRequest, Conflict
from agent_service.credentials.keyring import Key, NoCredential
from agent_service.credentials.probe import ModelProbe
from agent_service.credentials.scope import Scope
from agent_service.credentials.vault import Vault, VaultLocked
from agent_service.http.openapi import document
from agent_service.store import credentials as store
from agent_service.testing import ScriptedMessages
from tests.agent_service.credentials_house import DEFAULT_SECRET, NEW_KEY, OLD_KEY, Door, House

SECRET = "CANARY-stored-key-4711"


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as made:
        yield made


def key(secret: str = SECRET, **fields: str) -> NewCredential:
    return NewCredential(kind="api_key", secret=secret, **fields)  # type: ignore[arg-type]


# ---- at rest ----


@given(st.text(max_size=200), st.text(min_size=1, max_size=40))
def test_what_is_sealed_opens_for_its_row_only(secret: str, owner: str) -> None:
    """Any text comes back whole; under another row's id, or another key, it does not."""
    vault = Vault([OLD_KEY])
    sealed = vault.seal(secret, owner=owner)
    assert vault.open(sealed, owner=owner) == secret
    for other, wrong in ((vault, owner + "x"), (Vault([NEW_KEY]), owner)):
        with pytest.raises(VaultLocked):
            other.open(sealed, owner=wrong)


@pytest.mark.parametrize("keys", [[], [""], ["short"], [OLD_KEY, "short"]])
def test_weak_encryption_keys_are_refused(keys: list[str]) -> None:
    """No key, or one that can be guessed, is not taken."""
    with pytest.raises(ValueError, match="32 characters"):
        Vault(keys)


async def test_a_stolen_database_tells_nothing(house: House, tmp_path: Path) -> None:
    """Neither the file nor its log holds a key, before and after it is forgotten."""
    made = await house.keyring.add(key(label="team"), "admin")
    assert b"team" in house.stored_bytes()
    for _ in range(2):
        raw = house.stored_bytes()
        assert SECRET.encode() not in raw
        assert DEFAULT_SECRET.encode() not in raw
        assert OLD_KEY.encode() not in raw
        await house.revoker.revoke(Scope("credential", made.id), "admin")


async def test_what_was_sealed_before_is_gone(tmp_path: Path) -> None:
    """Neither the file nor its log keeps what an older encryption key sealed, once it is sealed
    anew, nor what was sealed of a key that is forgotten; the service runs on meanwhile."""

    def sealed(house: House) -> list[bytes]:
        with sqlite3.connect(house.path) as db:
            rows = db.execute("select sealed from credential where sealed is not null")
            return [text.encode() for (text,) in rows]

    async with House(tmp_path) as first:
        for n in range(20):
            await first.keyring.add(key(f"{SECRET}-{n}"), "admin")
        old = sealed(first)
        assert all(text in first.stored_bytes() for text in old)
    async with House(tmp_path, keys=(OLD_KEY, NEW_KEY)) as both:
        new = sealed(both)
        stored = both.stored_bytes()
        assert not any(text in stored for text in old)
        assert all(text in stored for text in new)
        await both.revoker.revoke(Scope("everything"), "admin")
        stored = both.stored_bytes()
        assert not any(text in stored for text in new)


async def test_rotation_needs_the_old_key_once(tmp_path: Path) -> None:
    """With both keys all rows are sealed anew; then the newest alone opens them."""
    async with House(tmp_path) as first:
        made = [await first.keyring.add(key(f"{SECRET}-{n}"), "admin") for n in range(3)]
    async with House(tmp_path, keys=(OLD_KEY, NEW_KEY)) as both:
        assert await both.keyring.rotate() == 0  # the start did it
    async with House(tmp_path, keys=(NEW_KEY,)) as last:
        for n, view in enumerate(made):
            assert last.keyring.usable(view.id).secret == f"{SECRET}-{n}"


async def test_rotation_broken_off_is_taken_up(tmp_path: Path) -> None:
    """A crash between two rows leaves some on either key; the next start does the rest."""
    async with House(tmp_path) as first:
        made = [await first.keyring.add(key(f"{SECRET}-{n}"), "admin") for n in range(3)]
        new = Vault([NEW_KEY])
        rows = await first.database.tx(store.everything)
        row = next(row for row in rows if row.id == made[1].id)
        assert row.sealed is not None
        sealed = new.seal(f"{SECRET}-1", owner=row.id)
        assert await first.database.tx(store.reseal, row.id, row.sealed, sealed)
        # What another one changed meanwhile is left alone.
        assert not await first.database.tx(store.reseal, row.id, row.sealed, "x")
    async with House(tmp_path, keys=(OLD_KEY, NEW_KEY)):
        pass
    async with House(tmp_path, keys=(NEW_KEY,)) as last:
        found = {last.keyring.usable(view.id).secret for view in made}
        assert found == {f"{SECRET}-{n}" for n in range(3)}


async def test_a_wrong_encryption_key_is_told(tmp_path: Path) -> None:
    """The service starts, says of the credential what to do, and harms nothing."""
    async with House(tmp_path) as first:
        made = await first.keyring.add(key(person="p1"), "admin")
    async with House(tmp_path, keys=(NEW_KEY,)) as wrong:
        view = wrong.keyring.view(made.id)
        assert view.state == "in_doubt"
        assert "oldest first" in view.reason
        with pytest.raises(Conflict) as refused:
            wrong.keyring.usable(made.id)
        assert "revoke this credential" in refused.value.remedy
        assert wrong.keyring.choose("p1").credential == "default"
    async with House(tmp_path, keys=(OLD_KEY, NEW_KEY)) as again:
        assert again.keyring.choose("p1").secret == SECRET


async def test_a_sealed_key_moved_to_another_row_does_not_open(tmp_path: Path) -> None:
    """Who can write the database cannot give one person the key of another."""
    async with House(tmp_path) as house:
        mine = await house.keyring.add(key(person="p1"), "admin")
        theirs = await house.keyring.add(key("CANARY-of-someone", person="p2"), "admin")
    with sqlite3.connect(house.path) as db:
        db.execute(
            "UPDATE credential SET sealed = (SELECT sealed FROM credential WHERE id = ?) "
            "WHERE id = ?",
            (theirs.id, mine.id),
        )
    db.close()
    async with House(tmp_path) as again:
        assert again.keyring.view(mine.id).state == "in_doubt"


# ---- in use ----


async def test_which_key_a_turn_uses(house: House) -> None:
    """One's own before the deployment's before the environment's; one not in doubt; the newest."""
    assert house.keyring.choose("p1").secret == DEFAULT_SECRET
    first = await house.keyring.add(key("CANARY-team-1"), "admin")
    second = await house.keyring.add(key("CANARY-team-2", url="http://127.0.0.1:1/x"), "admin")
    assert house.keyring.choose("p1").credential == second.id
    assert house.keyring.choose("p1").url == "http://127.0.0.1:1/x"
    await house.keyring.doubt(second.id, "The model refused it.")
    assert house.keyring.choose("p1").credential == first.id
    own = await house.keyring.add(key(person="p1"), "admin")
    assert house.keyring.choose("p1").credential == own.id
    assert house.keyring.choose("p2").credential == first.id
    assert SECRET not in repr(house.keyring.choose("p1"))


async def test_the_environments_key_can_be_revoked_and_lifted(tmp_path: Path) -> None:
    """It is not used over restarts, whatever its value, until an admin lifts that."""
    async with House(tmp_path) as house:
        made = await house.revoker.revoke(Scope("credential", "default"), "admin")
    async with House(tmp_path, secret="CANARY-environment-0002") as again:
        view = again.keyring.view("default")
        assert (view.state, view.source) == ("revoked", "environment")
        assert made.id in view.reason
        with pytest.raises(NoCredential) as refused:
            again.keyring.choose("p1")
        assert "admin" in refused.value.remedy
        assert again.keyring.key("default", "p1") is None
        await again.revoker.lift(made.id, "admin")
        assert again.keyring.choose("p1").secret == "CANARY-environment-0002"
        assert again.keyring.view("default").fingerprint == "…0002"


async def test_a_revoked_one_stays_so(house: House) -> None:
    """What a test finds out too late does not bring it back."""
    made = await house.keyring.add(key(), "admin")
    await house.revoker.revoke(Scope("credential", made.id), "admin")
    await house.keyring.doubt(made.id, "late")
    assert house.keyring.view(made.id).state == "revoked"
    assert house.keyring.key(made.id, "p1") is None


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (key(""), "secret"),
        (key("tiny-7x"), "secret"),
        (key("has a space in it"), "secret"),
        (key("line\nbreak-in-it"), "secret"),
        (key("schlüssel-lang"), "secret"),
        (key("x" * 5000), "secret"),
        (key(url="ftp://example.org"), "url"),
        (key(url="https://user:pass@example.org"), "url"),
        (key(url="https://"), "url"),
        (NewCredential("gateway", SECRET), "url"),
        (key(label="x" * 201), "label"),
        (key(label="a\x1b[31mb"), "label"),
    ],
)
async def test_what_is_no_credential_is_refused(
    house: House, new: NewCredential, field: str
) -> None:
    """The field is named, the key is not repeated."""
    with pytest.raises(BadRequest) as refused:
        await house.keyring.add(new, "admin")
    assert refused.value.fields["field"] == field
    assert not new.secret or new.secret not in json.dumps(refused.value.as_json())


# ---- over the API ----


async def test_an_admin_adds_lists_and_revokes(house: House) -> None:
    """The key goes in once and never comes out; the log tells who did what."""
    async with Door(house) as door:
        body = {"kind": "api_key", "secret": SECRET, "person": "p1", "by": "Ann"}
        status, made = await door.call("POST", "/v1/credentials", body)
        assert status == 200, made
        assert made["fingerprint"] == "…4711"
        status, again = await door.call("POST", "/v1/credentials", body)
        assert status == 409, again
        status, listed = await door.call("GET", "/v1/credentials")
        assert [c["id"] for c in listed] == ["default", made["id"]]
        status, revoked = await door.call("DELETE", f"/v1/credentials/{made['id']}")
        assert status == 200
        await house.signed_out()
        status, revocations = await door.call("GET", "/v1/revocations")
        assert [s["state"] for s in revocations[0]["steps"]] == ["done"] * 4
        status, one = await door.call("GET", f"/v1/credentials/{made['id']}")
        assert one["state"] == "revoked"
        status, log = await door.call("GET", "/v1/audit")
        kinds = [entry["kind"] for entry in log]
        assert kinds[:2] == ["credential.added", "revocation.asked"]
        assert kinds[-1] == "revocation.finished"
        assert log[0]["actor"] == "admin:Ann"
        status, rest = await door.call("GET", f"/v1/audit?after={log[-2]['seq']}")
        assert [entry["seq"] for entry in rest] == [log[-1]["seq"]]
        everything = json.dumps([made, again, listed, revoked, revocations, one, log])
    assert SECRET not in everything
    assert DEFAULT_SECRET not in everything


async def test_only_an_admin_may(house: House) -> None:
    """The bridge's key opens none of these routes."""
    async with Door(house) as door:
        for route in door.routes:
            path = route.path
            for name in ("credential", "sign_in", "revocation"):
                path = path.replace("{" + name + "}", "x1")
            status, answer = await door.call(route.method, path, caller="bridge")
            assert (status, answer["error"]["code"]) == (403, "forbidden"), path
        assert document(door.routes, "0")["paths"]["/v1/credentials"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/credentials/cr_none", None, 404),
        ("DELETE", "/v1/credentials/cr_none", None, 404),
        ("POST", "/v1/credentials/cr_none/test", {}, 404),
        ("POST", "/v1/credentials", {"kind": "api_key"}, 400),
        ("POST", "/v1/credentials", {"kind": "other", "secret": SECRET}, 400),
        ("POST", "/v1/credentials", {"kind": "api_key", "secret": SECRET, "person": "a/b"}, 400),
        ("POST", "/v1/credentials", {"kind": "api_key", "secret": SECRET, "by": "\n"}, 400),
        ("POST", "/v1/revocations", {"scope": "person"}, 400),
        ("POST", "/v1/revocations", {"scope": "everything", "subject": "p1"}, 400),
        ("POST", "/v1/revocations", {"scope": "credential", "subject": "cr_none"}, 404),
        ("POST", "/v1/revocations/rv_none/lift", {}, 404),
        ("GET", "/v1/credentials/sign-ins/si_none", None, 404),
        ("DELETE", "/v1/credentials/sign-ins/si_none", None, 404),
        ("GET", "/v1/audit?after=-1", None, 400),
    ],
)
async def test_bad_calls_are_told(
    house: House, method: str, path: str, body: object, status: int
) -> None:
    """Each gets an answer that names what is wrong, without the secret that came with it."""
    async with Door(house) as door:
        given, answer = await door.call(method, path, body)
        assert given == status, answer
        assert answer["error"]["message"]
        assert SECRET not in json.dumps(answer)


@pytest.mark.parametrize(
    ("accepts", "model", "outcome", "says"),
    [
        (SECRET, "claude-haiku-5-5", "works", "answered"),
        ("other-key", "claude-haiku-5-5", "refused", "(401)"),
    ],
)
async def test_a_test_asks_the_model(
    house: House, accepts: str, model: str, outcome: str, says: str
) -> None:
    """A real request tells whether the key works; a refused one is in doubt until it does."""
    async with ScriptedMessages(api_key=accepts) as server, Door(house, model) as door:
        made = await house.keyring.add(key(url=server.url), "admin")
        status, result = await door.call("POST", f"/v1/credentials/{made.id}/test", {})
        assert status == 200, result
        assert result["outcome"] == outcome
        assert says in result["message"]
        assert SECRET not in json.dumps(result)
        view = house.keyring.view(made.id)
        assert view.state == {"works": "active", "refused": "in_doubt"}[outcome]
        assert view.tested_at is not None


@pytest.mark.parametrize(
    ("status", "said", "outcome"),
    [
        (401, "invalid x-api-key", "refused"),
        (403, f"Key {SECRET} may not do this.", "refused"),
        (429, "This request would exceed your rate limit.", "over_limit"),
        (400, "Your credit balance is too low.", "over_limit"),
        (404, "model: nothing", "failed"),
        (529, "Overloaded", "failed"),
        (302, "", "failed"),
    ],
)
async def test_what_a_model_answers_is_told_in_words(status: int, said: str, outcome: str) -> None:
    """Refused, over the limit, in trouble: each reads differently, and never repeats the key."""

    async def answer(_request: web.Request) -> web.Response:
        headers = {"Location": "http://127.0.0.1:9/"} if status == 302 else {}
        body = {"error": {"message": said}} if said else ["nonsense"]
        return web.json_response(body, status=status, headers=headers)

    app = web.Application()
    app.router.add_post("/v1/messages", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        result = await ModelProbe("m")(Key("cr_1", url, SECRET))
    finally:
        await runner.cleanup()
    assert result.outcome == outcome
    assert str(status) in result.message
    assert SECRET not in result.message + result.remedy


async def test_a_model_that_is_away_puts_no_key_in_doubt(house: House) -> None:
    """Nobody answers: that is told as it is, and says nothing about the key."""
    made = await house.keyring.add(key(), "admin")
    result = await ModelProbe("m")(house.keyring.usable(made.id))
    assert result.outcome == "unreachable"
    assert result.remedy
    await house.keyring.tested(made.id, result, "admin")
    assert house.keyring.view(made.id).state == "active"
