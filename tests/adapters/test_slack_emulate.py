"""Against `emulate`, somebody else's server that speaks Slack: posts, edits, reading back, files,
marks, notes for one person and the home page. (It has no Socket Mode, no streams and no status.)
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from adapters.contract import (
    AdapterContext,
    Address,
    Attachment,
    Choice,
    FileOut,
    Identity,
    MessageOut,
)
from adapters.slack.adapter import SlackAdapter
from adapters.testing import RecordingHost
from tests.adapters.slack_double import SECRET, SlackDouble
from tests.adapters.slack_payloads import event

pytestmark = pytest.mark.full
PACKAGES = ("emulate@0.12.2", "node@22.20.0")
"""With a Node of its own: it needs a newer one than Debian has."""
BOT, PERSON = "xoxb-canary-emulate", "xoxp-canary-person"
SEED = {
    "slack": {
        "oauth_apps": [
            {"client_id": "1.2", "client_secret": "x", "app_id": "A0APP", "name": "Bascule",
             "bot_name": "bascule", "redirect_uris": ["http://localhost/x"],
             "scopes": ["chat:write"]}
        ],
        "users": [{"name": "ann", "real_name": "Ann"}],
        "channels": [{"name": "work"}],
        "tokens": [{"token": BOT, "user": "bascule"}, {"token": PERSON, "user": "ann"}],
    }
}  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, from npm: exactly this version, since the newest is another program."""
    npm = shutil.which("npm")
    assert npm, "npm is missing. Run: apt-get install npm"
    folder = tmp_path_factory.mktemp("emulate")
    subprocess.run(
        [npm, "install", "--prefix", folder, *PACKAGES, "--no-audit", "--no-fund"],
        check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    return folder / "node_modules"


class Emulated:
    def __init__(self, url: str) -> None:
        self.url = url

    async def call(self, method: str, token: str = PERSON, **args: Any) -> dict[str, Any]:
        """What a person's client would ask."""
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.post(f"{self.url}/api/{method}", json=args) as answer:
                said = await answer.json()
        assert said["ok"], (method, said)
        return said


@pytest_asyncio.fixture
async def server(program: Path, tmp_path: Path) -> AsyncIterator[Emulated]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    seed = tmp_path / "seed.json"
    seed.write_text(json.dumps(SEED))
    process = await asyncio.create_subprocess_exec(
        program / ".bin" / "node", program / "emulate" / "dist" / "index.js", "start",
        "--service", "slack", "--port", str(port), "--seed", seed,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    made = Emulated(f"http://localhost:{port}")  # as it calls itself
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    await made.call("auth.test")
                    break
                except (aiohttp.ClientError, AssertionError):
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest_asyncio.fixture
async def town(server: Emulated, tmp_path: Path) -> AsyncIterator[Emulated]:
    """A thread that Ann began, and the adapter."""
    server.ann = (await server.call("auth.test"))["user_id"]
    server.bot = (await server.call("auth.test", BOT))["user_id"]
    channels = (await server.call("conversations.list"))["channels"]
    server.channel = next(c["id"] for c in channels if c["name"] == "work")
    await server.call("conversations.join", BOT, channel=server.channel)
    root = await server.call("chat.postMessage", channel=server.channel, text="begin")
    team = (await server.call("auth.test"))["team_id"]
    server.at = Address("slack", team, server.channel, root["ts"])
    (tmp_path / "state").mkdir(mode=0o700)
    settings = {"SLACK_BOT_TOKEN": BOT, "SLACK_MODE": "http", "SLACK_SIGNING_SECRET": SECRET,
                "SLACK_API_URL": f"{server.url}/api/"}  # fmt: skip
    server.context = AdapterContext(settings, tmp_path / "state", tmp_path, 1000)
    server.adapter = SlackAdapter(server.context)
    server.host = RecordingHost()
    running = asyncio.create_task(server.adapter.run(server.host))
    async with asyncio.timeout(20):
        while (await server.adapter.health()).state != "ok":
            await asyncio.sleep(0.01)
    yield server
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def replies(town: Emulated) -> list[dict[str, Any]]:
    said = await town.call("conversations.replies", channel=town.channel, ts=town.at.thread)
    return [m for m in said["messages"] if m["user"] == town.bot]


async def test_posts_and_edits(town: Emulated) -> None:
    """A post is in its thread once a key, also for a process that knows nothing of it; an edit
    changes it in place."""
    choices = (Choice("d:1:allow", "Allow once", "primary"),)
    ref = await town.adapter.send(town.at, MessageOut("**May** it?", choices), "t_1.0")
    (post,) = await replies(town)
    assert post["blocks"][0] == {"type": "markdown", "text": "**May** it?"}
    assert post["blocks"][1]["elements"][0]["value"] == "d:1:allow"
    fresh = SlackAdapter(town.context)
    assert await fresh.send(town.at, MessageOut("**May** it?", choices), "t_1.0") == ref
    await fresh.edit(town.at, ref, MessageOut("Allowed."))
    (post,) = await replies(town)
    assert post["text"] == "Allowed."
    assert len(post["blocks"]) == 1


async def test_files_both_ways(town: Emulated) -> None:
    """A file goes into the thread, and comes back byte for byte."""
    data = bytes(range(256)) * 50
    await town.adapter.send(
        town.at, MessageOut("Here", files=(FileOut("a.bin", "", data),)), "t_1.0"
    )
    files = (await town.call("files.list", BOT))["files"]
    assert [(f["name"], f["size"]) for f in files] == [("a.bin", len(data))]
    wanted = Attachment(files[0]["id"], "a.bin", "", len(data))
    got = b"".join([chunk async for chunk in town.adapter.fetch(wanted)])
    assert got == data


async def test_marks_and_notes(town: Emulated) -> None:
    """A mark replaces the one before; a note for one person is taken; a home page is published."""
    key = f"{town.channel}:{town.at.thread}"
    for mark in ("queued", "working", "done"):
        await town.adapter.react(town.at, key, mark)
    said = await town.call("reactions.get", channel=town.channel, timestamp=town.at.thread)
    assert [r["name"] for r in said["message"]["reactions"]] == ["white_check_mark"]
    ann = Identity("slack", town.at.tenant, town.ann)
    ref = await town.adapter.send(town.at, MessageOut("psst", only_for=ann), "click.1")
    assert ref.id.endswith(town.ann)


async def test_signed_events(town: Emulated) -> None:
    """A signed event about a person of theirs arrives with their name."""
    app = web.Application()
    app.add_routes(town.adapter.routes(town.host))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    text = f"<@{town.bot}> hello"
    body = event("app_mention", user=town.ann, text=text, channel=town.channel, team=None)
    body["team_id"] = town.at.tenant
    try:
        status, _ = await SlackDouble().post_signed(url, body)
    finally:
        await runner.cleanup()
    assert status == 200
    assert [(m.text, m.sender.name) for m in town.host.messages] == [("hello", "ann")]
