"""Workspaces over the service's socket: files in and out, instructions, reset, export, removal."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import secrets
import shutil
import tarfile
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from yarl import URL

from agent_service.contract import INSTRUCTIONS_LIMIT, UPLOAD_LIMIT
from agent_service.workspaces.stage import NAME
from tests.agent_service.agent import Agent, Caller, ScriptedAgent, make_home

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY = b"canary-7c1f"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door() -> AsyncIterator[ScriptedAgent]:
    """One scripted service for the whole module."""
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    made = ScriptedAgent(home)
    await made.start()
    yield made
    await made.stop()
    shutil.rmtree(home, ignore_errors=True)


class Place:
    """One workspace, and calls about it."""

    def __init__(self, agent: Agent, caller: Caller | None = None) -> None:
        self.agent = agent
        self.caller = caller or agent.caller
        self.id = f"w_{secrets.token_hex(6)}"
        self.base = agent.home / "workspaces" / self.id
        self.work = self.base / "work"

    def url(self, rest: str = "", **query: str) -> URL:
        return URL(f"http://agent/v1/workspaces/{self.id}{rest}").with_query(query)

    async def call(
        self,
        method: str,
        rest: str = "",
        data: Any = b"",
        signed: bytes | None = None,
        **query: str,
    ) -> tuple[int, Any, Any]:
        """(status, headers, JSON or bytes)."""
        url = self.url(rest, **query)
        body = data if signed is None else signed
        headers = self.caller.header(method, url.raw_path_qs, body)
        sent = io.BytesIO(data) if isinstance(data, bytes) and data else data or None
        async with self.caller.http.request(method, url, data=sent, headers=headers) as answer:
            json = answer.content_type == "application/json"
            found = await answer.json() if json else await answer.read()
            return answer.status, answer.headers, found

    async def put(self, path: str, data: bytes = b"x") -> tuple[int, Any]:
        status, _, answer = await self.call("PUT", "/file", data, path=path)
        return status, answer

    async def get(self, path: str) -> tuple[int, Any]:
        status, _, answer = await self.call("GET", "/file", path=path)
        return status, answer

    async def made(self) -> Place:
        status, _, _ = await self.call("PUT", "/instructions", b'{"text": ""}')
        assert status == 200
        (self.work / "CLAUDE.md").unlink()
        shutil.rmtree(self.work / ".git")
        return self

    async def turn(self, prompt: str) -> Any:
        return await self.agent.turn(prompt, workspace=self.id, conversation=f"c_{self.id}")


def told(answer: Any, code: str, field: str | None = None) -> None:
    error = answer["error"]
    assert (error["code"], error.get("field")) == (code, field)
    assert error["message"]


def staged(agent: Agent) -> list[Path]:
    return list((agent.home / "workspaces" / NAME).glob("*/*"))


@pytest_asyncio.fixture(loop_scope="module")
async def place(door: ScriptedAgent) -> Place:
    return await Place(door).made()


# ---- files ----


async def test_what_goes_up_comes_down(place: Place) -> None:
    """Bytes, names and sizes survive, folders are made, and a second upload replaces the first."""
    for path, data in (
        ("a.txt", b"hello"),
        ("deep/er/ünï code ?&#%2e.bin", os.urandom(3_000_001)),
        ("empty", b""),
        ("a.txt", b"again"),
    ):
        status, entry = await place.put(path, data)
        assert status == 200, entry
        assert (entry["path"], entry["kind"], entry["size"]) == (path, "file", len(data))
        assert abs(entry["modified"] - time.time()) < 600
        status, headers, found = await place.call("GET", "/file", path=path)
        assert status == 200
        assert found == data
        assert headers["Content-Length"] == str(len(data))
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert staged(place.agent) == []


async def test_a_large_upload_needs_no_memory(place: Place) -> None:
    """64 MiB in pieces, of unknown length, arrive whole; ten times the limit of other bodies."""
    piece = os.urandom(1 << 20)
    digest = hashlib.sha256()
    for _ in range(64):
        digest.update(piece)
    url = place.url("/file", path="large")
    header = place.caller.signer.header_of(
        "PUT", url.raw_path_qs, digest.hexdigest(), now=time.time()
    )

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield piece

    async with place.caller.http.put(
        url, data=pieces(), headers={"Authorization": header}
    ) as answer:
        assert answer.status == 200, await answer.text()
    assert (place.work / "large").stat().st_size == 64 << 20
    status, found = await place.get("large")
    assert status == 200
    assert hashlib.sha256(found).digest() == digest.digest()


async def test_only_what_was_signed_is_stored(place: Place) -> None:
    """A body that is not the signed one leaves nothing, however much of it came."""
    status, _, answer = await place.call(
        "PUT", "/file", b"x" * 5_000_000, signed=b"other", path="a"
    )
    assert status == 401
    told(answer, "not_authentic")
    assert not (place.work / "a").exists()
    assert staged(place.agent) == []


async def test_an_upload_has_its_limit(place: Place) -> None:
    """Too much is refused before it is read."""
    url = place.url("/file", path="a")
    headers = {
        **place.caller.header("PUT", url.raw_path_qs),
        "Content-Length": str(UPLOAD_LIMIT + 1),
    }

    async def nothing() -> AsyncIterator[bytes]:
        yield b"x"

    async with place.caller.http.put(url, data=nothing(), headers=headers) as answer:
        assert answer.status == 413
        told(await answer.json(), "too_large")
    assert staged(place.agent) == []


async def test_an_upload_that_breaks_off_leaves_nothing(place: Place) -> None:
    """The caller dies in the middle; neither a file nor a part of one stays."""
    url = place.url("/file", path="half")
    headers = place.caller.header("PUT", url.raw_path_qs, b"y" * 9_000_000)
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"y" * 3_000_000
        begun.set()
        await asyncio.sleep(3600)
        yield b""

    sending = asyncio.create_task(
        place.caller.http.put(url, data=pieces(), headers=headers).__aenter__()
    )
    await begun.wait()
    async with asyncio.timeout(60):
        while not staged(place.agent):
            await asyncio.sleep(0.02)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        while staged(place.agent):
            await asyncio.sleep(0.02)
    assert not (place.work / "half").exists()


BAD_PATHS = [
    "",
    "/etc/passwd",
    "../x",
    "a/../b",
    ".",
    "a//b",
    "a/",
    "a\0b",
    "x" * 256,
    "a/" * 65 + "a",
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: repr(path[:16]))
async def test_a_bad_path_is_refused(place: Place, path: str) -> None:
    """On every route that takes one, with the field named."""
    for method in ("GET", "PUT", "DELETE"):
        status, _, answer = await place.call(method, "/file", b"", path=path)
        assert status == 400, (method, answer)
        told(answer, "bad_request", "path")
    if path:
        for field in ("path", "after"):
            status, _, answer = await place.call("GET", "/files", **{field: path})
            assert status == 400
            assert answer["error"]["code"] == "bad_request"
    assert list(place.work.iterdir()) == []


@pytest.mark.parametrize(
    "query", ["", "?path=a&path=b", "?path=%ff", "?path=%ed%a0%80", "?other=1"]
)
async def test_a_bad_query_is_refused(place: Place, query: str) -> None:
    """No path, two paths and what is no text never meet a file."""
    url = URL(f"http://agent/v1/workspaces/{place.id}/file{query}", encoded=True)
    headers = place.caller.header("GET", url.raw_path_qs)
    async with place.caller.http.get(url, headers=headers) as answer:
        assert answer.status in (400, 404)


async def test_nothing_outside_is_reached(place: Place) -> None:
    """Links the agent planted are refused on the way and replaced at the end, never followed."""
    outside = place.agent.home / f"outside-{place.id}"
    outside.mkdir()
    (outside / "secret").write_bytes(CANARY)
    (place.work / "out").symlink_to(outside)
    (place.work / "secret").symlink_to(outside / "secret")
    os.mkfifo(place.work / "pipe")
    for path in ("out/secret", "secret", "out", "pipe"):
        status, answer = await place.get(path)
        assert status == 400, path
        told(answer, "bad_request", "path")
    for path in ("out/new", "out/secret"):
        assert (await place.put(path))[0] == 400
        assert (await place.call("DELETE", "/file", path=path))[0] == 400
    assert (await place.call("GET", "/files", path="out"))[0] == 400
    assert (await place.put("secret", b"mine"))[0] == 200
    assert (await place.call("DELETE", "/file", path="out"))[0] == 200
    _, _, tar = await place.call("GET", "/export")
    assert CANARY not in tar
    assert [p.name for p in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == CANARY
    assert (place.work / "secret").read_bytes() == b"mine"


async def test_nothing_outside_is_reached_in_a_race(place: Place) -> None:
    """The same while a folder is swapped for a link all the time."""
    outside = place.agent.home / f"outside-{place.id}"
    outside.mkdir()
    (outside / "secret").write_bytes(CANARY)
    (place.work / "d").mkdir()
    (place.work / "d" / "mine").write_bytes(b"mine")
    end = threading.Event()

    def swap() -> None:
        folder, away = place.work / "d", place.work / "away"
        while not end.is_set():
            folder.rename(away)
            folder.symlink_to(outside)
            folder.unlink()
            away.rename(folder)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(150):
            assert (await place.get("d/secret"))[1] != CANARY
            status, _, tar = await place.call("GET", "/export")
            assert status == 200
            assert CANARY not in tar
            _, _, found = await place.call("GET", "/files", path="d", recursive="1")
            assert "d/secret" not in str(found.get("entries"))
            await place.call("DELETE", "/file", path="d/secret")
    finally:
        end.set()
        thread.join()
    assert [p.name for p in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == CANARY


async def test_files_are_listed(place: Place) -> None:
    """A folder's own, or all below it, with kinds; what is more comes with `after`."""
    for path in ("b/c/d.txt", "b/e.txt", "a.txt"):
        await place.put(path)
    (place.work / "link").symlink_to("a.txt")
    os.mkfifo(place.work / "pipe")
    _, _, found = await place.call("GET", "/files")
    assert [(e["path"], e["kind"]) for e in found["entries"]] == [
        ("a.txt", "file"), ("b", "folder"), ("link", "link"), ("pipe", "other"),
    ]  # fmt: skip
    assert found["next"] is None
    _, _, found = await place.call("GET", "/files", path="b", recursive="1")
    assert [e["path"] for e in found["entries"]] == ["b/c", "b/c/d.txt", "b/e.txt"]
    _, _, found = await place.call("GET", "/files", path="b", recursive="1", after="b/c/d.txt")
    assert [e["path"] for e in found["entries"]] == ["b/e.txt"]
    for number in range(1001):
        (place.work / "b" / "c" / f"{number:04}").touch()
    _, _, found = await place.call("GET", "/files", path="b/c")
    assert len(found["entries"]) == 1000
    assert found["next"] == "b/c/0999"
    _, _, found = await place.call("GET", "/files", path="b/c", after="b/c/0999")
    assert [e["path"] for e in found["entries"]] == ["b/c/1000", "b/c/d.txt"]
    assert found["next"] is None
    assert (await place.call("GET", "/files", path="nothing"))[0] == 404
    assert (await place.call("GET", "/files", path="a.txt"))[0] == 400


async def test_a_name_that_is_no_text_is_listed(place: Place) -> None:
    """Bytes and control characters in names break no answer."""
    for raw in (b"\xff\xfe", b"a\x1b[31m\n", b"\xed\xa0\x80"):
        (place.work / raw.decode("utf-8", "surrogateescape")).touch()
    status, _, found = await place.call("GET", "/files", recursive="1")
    assert status == 200
    assert len(found["entries"]) == 3
    _, _, tar = await place.call("GET", "/export")
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        assert len(members.getnames()) == 3


async def test_a_file_is_removed(place: Place) -> None:
    """Once; the second time it is told that there is none. Full folders stay."""
    await place.put("a/b")
    status, _, answer = await place.call("DELETE", "/file", path="a")
    assert status == 409
    told(answer, "conflict", "path")
    status, _, answer = await place.call("DELETE", "/file", path="a/b")
    assert (status, answer["kind"]) == (200, "file")
    status, _, answer = await place.call("DELETE", "/file", path="a/b")
    assert status == 404
    told(answer, "not_found", "path")
    assert (await place.call("DELETE", "/file", path="a"))[0] == 200


async def test_a_file_that_shrinks_is_not_sent_as_whole(place: Place) -> None:
    """Whoever downloads a file that is cut meanwhile sees that it broke off."""
    (place.work / "a").write_bytes(b"x" * 60_000_000)
    url = place.url("/file", path="a")
    headers = place.caller.header("GET", url.raw_path_qs)
    async with place.caller.http.get(url, headers=headers) as answer:
        assert answer.status == 200
        await answer.content.readexactly(1000)
        os.truncate(place.work / "a", 2000)
        with pytest.raises(Exception, match=r"(?i)payload|disconnect|reset|closed"):
            await answer.read()


# ---- instructions ----


async def test_instructions_are_kept(door: ScriptedAgent) -> None:
    """They make a workspace that is none yet, come back as they were, and bridge and admin may."""
    place = Place(door)
    for number, caller in enumerate((door.caller, Caller(door.home, "admin"))):
        place.caller = caller
        text = f"Be brief. ü {number}"
        status, _, answer = await place.call(
            "PUT", "/instructions", f'{{"text": "{text}"}}'.encode()
        )
        assert (status, answer) == (200, {"text": text})
        assert (await place.call("GET", "/instructions"))[2] == {"text": text}
        assert (place.work / "CLAUDE.md").read_text() == text
        if caller is not door.caller:
            await caller.http.close()
    assert (place.work / ".git" / "HEAD").exists()


async def test_instructions_never_follow_a_link(place: Place) -> None:
    """A CLAUDE.md that leads elsewhere is read as none, and replaced without touching its end."""
    outside = place.agent.home / f"outside-{place.id}"
    outside.write_bytes(CANARY)
    (place.work / "CLAUDE.md").symlink_to(outside)
    assert (await place.call("GET", "/instructions"))[2] == {"text": ""}
    assert (await place.call("PUT", "/instructions", b'{"text": "new"}'))[0] == 200
    assert outside.read_bytes() == CANARY
    assert (place.work / "CLAUDE.md").read_text() == "new"
    (place.work / "CLAUDE.md").unlink()
    os.mkfifo(place.work / "CLAUDE.md")
    assert (await place.call("GET", "/instructions"))[2] == {"text": ""}
    (place.work / "CLAUDE.md").unlink()
    (place.work / "CLAUDE.md").mkdir()
    status, _, answer = await place.call("PUT", "/instructions", b'{"text": "new"}')
    assert status == 409
    told(answer, "conflict", "path")
    assert staged(place.agent) == []


async def test_instructions_have_their_limit(place: Place) -> None:
    """Counted in bytes; what does not reach the agent is not taken."""
    fits = ("ü" * (INSTRUCTIONS_LIMIT // 2)).encode()
    assert (await place.call("PUT", "/instructions", b'{"text": "' + fits + b'"}'))[0] == 200
    status, _, answer = await place.call("PUT", "/instructions", b'{"text": "' + fits + b'."}')
    assert status == 413
    told(answer, "too_large", "text")
    for body in (b"", b"{}", b'{"text": 5}', b'{"text": "a", "b": 1}', b'{"text": "\\ud800"}'):
        assert (await place.call("PUT", "/instructions", body))[0] == 400, body
    other = Place(place.agent)
    assert (await other.call("PUT", "/instructions", b'{"text": "' + fits + b'."}'))[0] == 413
    assert (await other.call("GET", ""))[0] == 404


# ---- the whole ----


async def test_a_workspace_tells_its_size(place: Place) -> None:
    """Bytes on disk, number of files and since when; an unknown one is told as that."""
    before = (await place.call("GET"))[2]
    assert before["complete"]
    assert abs(before["made_at"] - time.time()) < 600
    await place.put("a/b", b"x" * 1_000_000)
    now = (await place.call("GET"))[2]
    assert now["files"] == before["files"] + 1
    assert now["size"] - before["size"] >= 1_000_000
    unknown = Place(place.agent)
    for method, rest, body in (
        ("GET", "", b""), ("GET", "/files", b""), ("GET", "/export", b""),
        ("GET", "/instructions", b""), ("POST", "/reset", b"{}"),
    ):  # fmt: skip
        status, _, answer = await unknown.call(method, rest, body)
        assert status == 404, rest
        told(answer, "not_found")
    assert not unknown.base.exists()


@pytest.mark.parametrize("bad", ["%2e%2e", "..", ".stage", "a%2fb", "a%00b", "é", "a" * 65])
async def test_an_id_is_only_a_name(door: ScriptedAgent, bad: str) -> None:
    """Nothing that could climb is a workspace, on any route."""
    before = sorted((door.home / "workspaces").iterdir())
    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/export"), ("PUT", "/file?path=a")):
        url = URL(f"http://agent/v1/workspaces/{bad}{rest}", encoded=True)
        headers = door.caller.header(method, url.raw_path_qs)
        async with door.caller.http.request(method, url, headers=headers) as answer:
            assert answer.status in (400, 401, 404)
    assert sorted((door.home / "workspaces").iterdir()) == before


async def test_an_export_holds_the_work(place: Place) -> None:
    """Files, folders and links as links; what cannot be in it is named in it."""
    await place.put("a/b.txt", b"hello")
    await place.put("big", os.urandom(2_000_003))
    (place.work / "link").symlink_to("/etc/passwd")
    os.mkfifo(place.work / "pipe")
    status, headers, tar = await place.call("GET", "/export")
    assert (status, headers["Content-Type"]) == (200, "application/x-tar")
    with tarfile.open(fileobj=io.BytesIO(tar)) as found:
        assert sorted(found.getnames()) == [".bascule-left-out.txt", "a", "a/b.txt", "big", "link"]
        assert found.getmember("link").issym()
        member = found.extractfile(".bascule-left-out.txt")
        assert member is not None
        assert member.read().startswith(b"pipe: ")
        big = found.extractfile("big")
        assert big is not None
        assert big.read() == (place.work / "big").read_bytes()


async def test_a_reset_makes_it_new(place: Place) -> None:
    """Work and transcripts go, conversations stay and begin anew; CLAUDE.md only where asked."""
    for keep in (True, False):
        assert (await place.turn("say hi")).last["outcome"] == "completed"
        await place.put("a/b")
        await place.call("PUT", "/instructions", b'{"text": "mine"}')
        assert list((place.base / "config").iterdir())
        body = b'{"keep_instructions": true}' if keep else b"{}"
        status, _, view = await place.call("POST", "/reset", body)
        assert status == 200, view
        assert list((place.base / "config").iterdir()) == []
        left = sorted(p.name for p in place.work.iterdir())
        assert left == [".git", *(["CLAUDE.md"] if keep else [])]
        assert (await place.call("GET", "/instructions"))[2] == {"text": "mine" if keep else ""}
    assert (await place.turn("say again")).text == "again"
    view = (await place.agent.caller.call("GET", f"/v1/conversations/c_{place.id}"))[1]
    assert view["turns"] == 3
    assert staged(place.agent) == []


async def test_nothing_is_emptied_under_a_turn(place: Place) -> None:
    """While a turn runs or waits, reset and removal are refused with what to do."""
    waiting = await place.turn("bash touch x")
    running = await place.agent.put("think 60", workspace=place.id, conversation=f"r_{place.id}")
    for turn in (waiting.id, running):
        for method, rest, body in (("POST", "/reset", b"{}"), ("DELETE", "", b"")):
            status, _, answer = await place.call(method, rest, body)
            assert status == 409
            assert answer["error"]["state"] in ("waiting", "running", "queued")
            assert answer["error"]["remedy"]
        await place.agent.caller.call("POST", f"/v1/turns/{turn}/interrupt", {})
    assert (await place.call("POST", "/reset", b"{}"))[0] == 200
    assert (await place.turn("say hi")).text == "hi"


async def test_nothing_is_emptied_under_a_transfer(place: Place) -> None:
    """While a file is sent, reset and removal are refused; afterwards they work."""
    (place.work / "a").write_bytes(b"x" * 30_000_000)
    url = place.url("/file", path="a")
    headers = place.caller.header("GET", url.raw_path_qs)
    async with place.caller.http.get(url, headers=headers) as answer:
        await answer.content.readexactly(1000)
        assert (await place.call("DELETE"))[0] == 409
    async with asyncio.timeout(60):
        while (await place.call("DELETE"))[0] == 409:
            await asyncio.sleep(0.05)
    assert not place.base.exists()


async def test_a_removed_workspace_is_gone(place: Place) -> None:
    """Files, conversations, turns and their events; again is no error, and the id begins anew."""
    turn = await place.turn("say hi")
    await place.put("a/b")
    neighbour = await Place(place.agent).made()
    await neighbour.put("a", b"theirs")
    assert (await place.call("DELETE"))[2] == {"workspace": place.id, "existed": True}
    assert not place.base.exists()
    assert staged(place.agent) == []
    for path in (f"/v1/turns/{turn.id}", f"/v1/conversations/c_{place.id}"):
        assert (await place.agent.caller.call("GET", path))[0] == 404
    assert (await place.call("GET"))[0] == 404
    assert (await place.call("DELETE"))[2] == {"workspace": place.id, "existed": False}
    assert (await neighbour.get("a"))[1] == b"theirs"
    assert (await place.turn("say new")).text == "new"


async def test_calls_at_once_end_well(door: ScriptedAgent) -> None:
    """Uploads, resets, removals and turns on one workspace at once: each works or says why not."""
    place = await Place(door).made()

    async def one(number: int) -> int:
        if number % 5 == 0:
            return (await place.call("POST", "/reset", b"{}"))[0]
        if number % 5 == 1:
            return (await place.call("DELETE"))[0]
        if number % 5 == 2:
            path, body = f"/v1/turns/t_{secrets.token_hex(8)}", door.request("say hi")
            body |= {"workspace": place.id, "conversation": f"c_{place.id}"}
            return (await door.caller.call("PUT", path, body))[0]
        return (await place.put(f"f{number}"))[0]

    for _ in range(5):
        assert set(await asyncio.gather(*map(one, range(20)))) <= {200, 404, 409, 503}
    async with asyncio.timeout(60):
        while (await place.call("DELETE"))[0] != 200:
            await asyncio.sleep(0.05)
    assert not place.base.exists()
    assert staged(door) == []


@pytest.mark.asyncio(loop_scope="function")
async def test_without_a_sandbox_one_person_is_served(home: Path) -> None:
    """Files and instructions make no second workspace where turns may not either."""
    from agent_service.testing import ScriptedMessages

    async with ScriptedMessages() as model:
        agent = Agent(home, model, **OFF)
        await agent.start()
        try:
            assert (await agent.turn("say hi")).text == "hi"
            place = Place(agent)
            assert (await place.put("a"))[0] == 403
            assert (await place.call("PUT", "/instructions", b'{"text": ""}'))[0] == 403
            assert not place.base.exists()
        finally:
            await agent.stop()


OFF = {"agent_sandbox": "off"}


@pytest.mark.asyncio(loop_scope="function")
async def test_the_real_cli_goes_on_after_a_reset(agent: Agent) -> None:
    """A warm process is ended first; the conversation begins anew, told the new instructions."""
    place = Place(agent)
    place.id, place.work = "w1", agent.work
    await agent.turn("say one")
    assert (await place.call("PUT", "/instructions", b'{"text": "Be brief."}'))[0] == 200
    assert (await place.call("POST", "/reset", b'{"keep_instructions": true}'))[0] == 200
    turn = await agent.turn("say two")
    assert turn.text == "two"
    assert turn.last["outcome"] == "completed"
    assert (await place.call("DELETE"))[0] == 200
    assert not agent.work.parent.exists()


@pytest.mark.asyncio(loop_scope="function")
async def test_what_a_kill_left_is_swept(home: Path) -> None:
    """What an earlier start left in the stage is gone soon after the next one."""
    left = home / "workspaces" / NAME / "earlier" / "s1"
    (left / "a" / "b").mkdir(parents=True)
    (left / "a").chmod(0)
    agent = ScriptedAgent(home)
    await agent.start()
    try:
        async with asyncio.timeout(60):
            while left.parent.exists():
                await asyncio.sleep(0.02)
    finally:
        await agent.stop()
