"""What the benchmarks run on: the scripted model, the real agent service as a process of its own,
and a bridge in this process with an adapter that does nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import sqlalchemy as sa

from adapters.contract import (
    Address,
    Attachment,
    Capabilities,
    FileRefused,
    Health,
    Host,
    Identity,
    MessageIn,
    MessageOut,
    Plugin,
    PostRef,
    Sender,
)
from agent_service.contract.signing import Signer
from bridge.agent_client import AgentClient
from bridge.service import Bridge
from bridge.settings import BridgeSettings, read_signing_keys
from bridge.store.schema import conversation, person

OWNER = Sender(Identity("nothing", "bench", "owner"), "Owner", host_owner=True)


class DoNothing:
    """An adapter that throws away what it is given, and notes when the first word came."""

    name = "nothing"
    caps = Capabilities(text_limit=12_000, edit_interval=0.05, file_limit=1)

    def __init__(self) -> None:
        self._refs = itertools.count()
        self.first = asyncio.Event()
        self.over = asyncio.Event()
        self.first_at = 0.0

    def expect(self) -> None:
        self.first.clear()
        self.over.clear()

    async def run(self, host: Host) -> None:
        await asyncio.Event().wait()

    async def send(self, to: Address, message: MessageOut, key: str) -> PostRef:
        self._see(message)
        return PostRef(str(next(self._refs)))

    async def edit(self, to: Address, ref: PostRef, message: MessageOut) -> None:
        self._see(message)

    def fetch(self, attachment: Attachment) -> AsyncIterator[bytes]:
        raise FileRefused("There are no files here.")

    async def health(self) -> Health:
        return Health("ok")

    def _see(self, message: MessageOut) -> None:
        if message.tone != "answer":
            raise RuntimeError(f"unexpected post: {message.markdown}")
        if message.markdown and not self.first.is_set():
            self.first_at = time.perf_counter()
            self.first.set()
        if message.final:
            self.over.set()


class House:
    """A whole deployment. `message` is one message through it, on the clock."""

    def __init__(self, home: Path, model_url: str) -> None:
        self.home = home
        self.model_url = model_url
        self.adapter = DoNothing()
        self._numbers = itertools.count(1)
        plugin = Plugin("nothing", lambda _context: self.adapter)
        settings = BridgeSettings(
            _env_file=None,  # type: ignore[call-arg]
            bascule_home=home,
            bridge_adapters="nothing",
            bridge_listen="off",
        )
        self.bridge = Bridge(settings, given=[plugin])
        self._settings = settings

    async def wait_for_agent(self) -> None:
        """Returns once the agent service is ready."""
        keys = read_signing_keys(self._settings.signing_keys_file)
        client = AgentClient(self._settings.agent_socket, keys)
        try:
            async with asyncio.timeout(30):
                while not await client.healthy():
                    await asyncio.sleep(0.05)
        finally:
            await client.close()

    async def session(self, action: str, conversation: str) -> None:
        """`warm` or `close` the session of a conversation that was spoken in before."""
        agent, workspace = await self.bridge.db.tx(_known, conversation)
        body = {"workspace": workspace} if action == "warm" else None
        await self.call("bridge", "POST", f"/v1/conversations/{agent}/{action}", body)

    async def _view(self, agent: str) -> dict[str, Any]:
        return await self.call("bridge", "GET", f"/v1/conversations/{agent}")

    async def call(
        self, caller: str, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """A signed call to the agent service, past the bridge."""
        async with self._called(caller, method, path, body) as answer:
            return dict(await answer.json())

    @asynccontextmanager
    async def _called(
        self, caller: str, method: str, path: str, body: dict[str, Any] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        keys = read_signing_keys(self.home / "secrets" / f"{caller}.keys")
        data = b"" if body is None else json.dumps(body).encode()
        signed = Signer(caller, "agent:main", keys).header(method, path, data, now=time.time())
        headers = {"Authorization": signed}
        connector = aiohttp.UnixConnector(str(self._settings.agent_socket))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.request(method, f"http://agent{path}", data=data, headers=headers) as answer,
        ):
            answer.raise_for_status()
            yield answer

    async def until_said(self, turn: str) -> None:
        """Returns once a turn has said a word; its session is live then."""
        async with self._called("bridge", "GET", f"/v1/turns/{turn}/events") as answer:
            async for line in answer.content:
                if b"text" in line:
                    return

    async def until_warm(self, conversation: str) -> None:
        """Returns once the conversation has a live session."""
        agent, _ = await self.bridge.db.tx(_known, conversation)
        async with asyncio.timeout(30):
            while not (await self._view(agent))["live"]:
                await asyncio.sleep(0.02)

    def memory(self) -> int:
        """Bytes that the processes of all live sessions hold for themselves."""
        return sum(process.memory_full_info().uss for process in self.processes())

    def processes(self) -> list[psutil.Process]:
        """Those of all live sessions."""
        return [process for process in psutil.process_iter() if self._ours(process)]

    def _ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("BASCULE_SESSION_OF") == str(self.home)
        except psutil.Error:
            return False

    async def message(self, text: str, conversation: str) -> float:
        """Seconds from `submit` to the first word at the adapter. Returns when all is said."""
        number = next(self._numbers)
        said = MessageIn(
            keys=(f"k{number}",),
            address=Address("nothing", "bench", conversation, direct=True),
            sender=OWNER,
            text=text,
            order=number,
            sent_at=datetime.now(UTC),
        )
        self.adapter.expect()
        started = time.perf_counter()
        await self.bridge.host.submit(said)
        async with asyncio.timeout(60):
            await self.adapter.first.wait()
            await self.adapter.over.wait()
        return self.adapter.first_at - started


def _known(con: sa.Connection, channel: str) -> tuple[str, str]:
    """The agent's conversation and its owner's workspace."""
    query = (
        sa.select(conversation.c.agent_conversation, person.c.workspace)
        .join(person, person.c.id == conversation.c.owner)
        .where(conversation.c.channel == channel)
    )
    agent, workspace = con.execute(query).one()
    return agent, workspace


@asynccontextmanager
async def running_house(**settings: str) -> AsyncIterator[House]:
    """Everything up, the agent service with these settings; everything gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="bench-"))
    processes: list[asyncio.subprocess.Process] = []
    try:
        for folder in ("secrets", "run"):
            (home / folder).mkdir(mode=0o700)
        for caller in ("bridge", "admin"):
            keys = home / "secrets" / f"{caller}.keys"
            keys.touch(0o600)
            keys.write_text(secrets.token_urlsafe(48) + "\n")
        url = await _model(home, processes)
        environment = {
            "PATH": os.environ["PATH"],
            "BASCULE_HOME": str(home),
            "AGENT_UPSTREAM_URL": url,
            "AGENT_API_KEY": "bench",
            "LOG_LEVEL": "warning",
            **settings,
        }
        processes.append(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agent_service", env=environment
            )
        )
        house = House(home, url)
        await house.wait_for_agent()
        await house.bridge.start()
        try:
            yield house
        finally:
            await house.bridge.stop()
    finally:
        for process in reversed(processes):
            if process.returncode is None:
                process.terminate()
                await process.wait()
        shutil.rmtree(home, ignore_errors=True)


async def _model(home: Path, processes: list[asyncio.subprocess.Process]) -> str:
    ready = home / "model.url"
    processes.append(
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent_service.testing.messages_api",
            "--port",
            "0",
            "--ready-file",
            str(ready),
        )
    )
    async with asyncio.timeout(30):
        while not (ready.exists() and ready.read_text().strip()):
            await asyncio.sleep(0.02)
    return ready.read_text().strip()
