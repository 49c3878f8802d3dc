"""A running agent service and its caller, with short ways to do what tests do."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from agent_service.contract.signing import Signer
from agent_service.sandbox.launch import MARK
from agent_service.service import AgentService
from agent_service.settings import AgentSettings
from agent_service.testing import ScriptedMessages
from agent_service.testing.scripted_service import scripted_service


def make_home(root: Path) -> Path:
    """A deployment's home with signing keys, as `bascule up` makes it."""
    (root / "secrets").mkdir(mode=0o700, parents=True)
    (root / "run").mkdir(mode=0o700)
    for caller in ("bridge", "admin"):
        file = root / "secrets" / f"{caller}.keys"
        file.write_text(secrets.token_urlsafe(48) + "\n")
        file.chmod(0o600)
    return root


def session_processes(home: Path) -> list[psutil.Process]:
    """Every live process of a session of this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(home) and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


class Caller:
    """Calls a service as the bridge (or another caller) does."""

    def __init__(self, home: Path, caller: str = "bridge") -> None:
        key = (home / "secrets" / f"{caller}.keys").read_text().split()
        self.signer = Signer(caller, "agent:main", key)
        self.http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(home / "run" / "agent.sock")),
            base_url="http://agent",
        )

    def header(self, method: str, path: str, body: bytes = b"") -> dict[str, str]:
        return {"Authorization": self.signer.header(method, path, body, now=time.time())}

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        headers = self.header(method, path, raw)
        # Large ones are sent from a file: aiohttp warns of others.
        sent = io.BytesIO(raw) if raw else None
        async with self.http.request(method, path, data=sent, headers=headers) as answer:
            return answer.status, await answer.json()

    async def stream(self, path: str) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        async with self.http.get(path, headers=self.header("GET", path)) as answer:
            assert answer.status == 200, await answer.text()
            number = 0
            async for raw in answer.content:
                line = raw.decode().strip()
                if line.startswith("id:"):
                    number = int(line[3:])
                elif line.startswith("data:"):
                    yield number, json.loads(line[5:])

    async def events(self, turn_id: str, after: int = 0) -> list[tuple[int, dict[str, Any]]]:
        """All events until the stream ends."""
        path = f"/v1/turns/{turn_id}/events?after={after}"
        async with asyncio.timeout(60), aclosing(self.stream(path)) as stream:
            return [numbered async for numbered in stream]


class Turn:
    """What came of a turn, for reading in a test."""

    def __init__(self, turn_id: str, events: list[tuple[int, dict[str, Any]]]) -> None:
        self.id = turn_id
        self.numbers = [number for number, _ in events]
        self.events = [event for _, event in events]
        self.kinds = [event["kind"] for event in self.events]
        self.last = self.events[-1]

    @property
    def text(self) -> str:
        return "\n".join(e["text"] for e in self.events if e["kind"] == "text")

    @property
    def deltas(self) -> str:
        return "".join(e["text"] for e in self.events if e["kind"] == "text.delta")

    @property
    def decision(self) -> dict[str, Any]:
        assert self.last["kind"] == "turn.waiting", self.events
        return next(asked for asked in self.asked if asked["id"] == self.last["decision"])

    @property
    def asked(self) -> list[dict[str, Any]]:
        """Every decision that was asked for, those about hosts too."""
        return [e["decision"] for e in self.events if e["kind"] == "decision.requested"]

    def results(self) -> list[tuple[bool, str]]:
        return [(e["ok"], e["summary"]) for e in self.events if e["kind"] == "tool.finished"]


class Agent:
    """A running service with a caller, and short ways to do what tests do."""

    def __init__(self, home: Path, model: ScriptedMessages, **settings: Any) -> None:
        self.home = home
        self.model = model
        given = {
            "agent_upstream_url": model.url,
            "agent_api_key": "test-key",
            "agent_model_retries": 1,
            **settings,
        }
        self.settings = AgentSettings(_env_file=None, bascule_home=home, **given)
        self.work = home / "workspaces" / "w1" / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self._told: set[str] = set()

    def made(self) -> AgentService:
        """The service, not started."""
        return AgentService(self.settings)

    async def start(self) -> None:
        self.service = self.made()
        await self.service.start()
        self.caller = Caller(self.home)
        await self.deciders("p1")

    async def deciders(self, *people: str, workspace: str = "w1") -> None:
        """From now on the answers of these people count, and of nobody else."""
        self._told.add(workspace)
        path, body = f"/v1/workspaces/{workspace}/deciders", {"people": people, "by": "p1"}
        status, answer = await self.caller.call("PUT", path, body)
        assert status == 200, answer

    async def stop(self) -> None:
        await self.caller.http.close()
        await self.service.stop()

    def request(self, prompt: str, **fields: Any) -> dict[str, Any]:
        asker = {"person": "p1", "name": "Ann"}
        base = {"conversation": "c1", "workspace": "w1", "prompt": prompt, "asker": asker}
        return {**base, **fields}

    async def put(self, prompt: str, **fields: Any) -> str:
        workspace = str(fields.get("workspace", "w1"))
        if workspace not in self._told:
            await self.deciders("p1", workspace=workspace)
        turn_id = f"t_{secrets.token_hex(8)}"
        status, answer = await self.caller.call(
            "PUT", f"/v1/turns/{turn_id}", self.request(prompt, **fields)
        )
        assert status == 200, answer
        return turn_id

    async def turn(self, prompt: str, **fields: Any) -> Turn:
        """Put a turn and wait until it waits or is finished."""
        turn_id = await self.put(prompt, **fields)
        return Turn(turn_id, await self.caller.events(turn_id))

    async def decide(self, turn: Turn, outcome: str, **fields: Any) -> tuple[int, Any]:
        path = f"/v1/turns/{turn.id}/decisions/{turn.decision['id']}"
        return await self.caller.call(
            "POST", path, {"outcome": outcome, "decided_by": "p1", **fields}
        )

    async def decided(self, turn: Turn, outcome: str, **fields: Any) -> Turn:
        """Answer the decision a turn waits for, and follow it from there on."""
        status, answer = await self.decide(turn, outcome, **fields)
        assert status == 200, answer
        return Turn(turn.id, await self.caller.events(turn.id, after=turn.numbers[-1]))

    async def allow_all(self, prompt: str, **fields: Any) -> Turn:
        """A turn in which every decision is allowed."""
        turn = await self.turn(prompt, **fields)
        while turn.last["kind"] == "turn.waiting":
            turn = await self.decided(turn, "allow")
        return turn


class ScriptedAgent(Agent):
    """A running service without a CLI: all but the session is real, and a turn costs little."""

    def __init__(self, home: Path, **settings: Any) -> None:
        nowhere = {"agent_upstream_url": "http://127.0.0.1:9"}
        super().__init__(home, ScriptedMessages(), **{**nowhere, **settings})

    def made(self) -> AgentService:
        return scripted_service(self.settings)
