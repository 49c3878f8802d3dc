"""Stands between the bridge and its agent service: notes what passes, and makes it go wrong."""

from __future__ import annotations

import asyncio
import io
import json
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from agent_service.contract import errors


@dataclass
class Started:
    at: float
    turn: str
    conversation: str
    prompt: str


class Proxy:
    """Listens on `socket` and passes everything on to `upstream`, byte by byte as it was signed."""

    def __init__(self, socket: Path, upstream: Path) -> None:
        self.socket, self.upstream = socket, upstream
        self.puts: list[tuple[str, bytes]] = []
        """Every PUT that arrived, those that went wrong included."""
        self.started: list[Started] = []
        """Each turn once, in the order in which they began."""
        self.warmed: list[dict] = []
        self.decisions: list[dict] = []
        self.noted: list[dict] = []
        """Answers that the bridge did not take, as it told the service."""
        self.refused: list[str] = []
        """What the service called not authentic."""
        self.open: dict[str, str] = {}
        self.most_running = 0
        self.overlaps = 0
        # faults
        self.delay = 0.0
        """Seconds that a PUT takes."""
        self.lost_answers = 0
        """So many PUTs reach the service, and their answers nobody."""
        self.answers: dict[str, errors.ServiceError] = {}
        """What a PUT with this prompt is answered instead."""
        self.forgotten: set[str] = set()
        """Prompts whose turns are not known when their events are asked for."""
        self.drops: list[int] = []
        """The next streams of events break after so many."""
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None

    def prompts(self) -> list[str]:
        return [one.prompt for one in self.started]

    def bodies(self) -> list[dict]:
        return [json.loads(raw) for _, raw in self.puts]

    async def start(self) -> None:
        self._client = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self.upstream), limit=0),
            read_bufsize=2**23,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        app = web.Application(client_max_size=8 * 2**20)
        app.router.add_put("/v1/turns/{turn}", self._put)
        app.router.add_get("/v1/turns/{turn}/events", self._events)
        app.router.add_route("*", "/{rest:.*}", self._pass)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
        await self._runner.setup()
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def stop(self) -> None:
        """Refuse connections, and break those that are open."""
        if self._runner is not None:
            server = self._runner.server
            await self._runner.cleanup()
            for _ in range(3):
                await asyncio.sleep(0)
            await server.shutdown(0)  # of what was just being accepted
            await self._client.close()
            self._runner = None
        self.socket.unlink(missing_ok=True)

    def _upstream(self, request: web.Request, body: bytes | None):
        headers = {
            name: request.headers[name]
            for name in ("Authorization", "Content-Type", "Accept")
            if name in request.headers
        }
        url = URL(f"http://agent{request.raw_path}", encoded=True)
        return self._client.request(
            request.method, url, data=io.BytesIO(body) if body else None, headers=headers
        )

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/feed":
            return await self._stream(request, "", None)
        body = await request.read()
        async with self._upstream(request, body) as answer:
            got = await answer.read()
        if answer.status == 401:
            self.refused.append(got.decode())
        elif request.path.endswith("/warm"):
            conversation = request.path.split("/")[-2]
            self.warmed.append({"conversation": conversation, **json.loads(body)})
        elif request.path.endswith("/interrupt") and json.loads(got).get("state") == "finished":
            self.open.pop(request.path.split("/")[-2], None)
        elif request.path.endswith("/refused"):
            self.noted.append(json.loads(body))
        elif "/decisions/" in request.path and request.method == "POST" and answer.status == 200:
            self.decisions.append(json.loads(body))
        return web.Response(body=got, status=answer.status, content_type="application/json")

    async def _put(self, request: web.Request) -> web.StreamResponse:
        turn, body = request.match_info["turn"], await request.read()
        self.puts.append((turn, body))
        if self.delay:
            await asyncio.sleep(self.delay)
        asked = json.loads(body)
        error = self.answers.get(asked["prompt"])
        if error is not None:
            return web.json_response(error.as_json(), status=error.status)
        new = all(one.turn != turn for one in self.started)
        if new:
            # Before it is passed on: its end may be here before the answer to this call is.
            conversation = asked["conversation"]
            self.started.append(Started(time.perf_counter(), turn, conversation, asked["prompt"]))
            self.overlaps += conversation in self.open.values()
            self.open[turn] = conversation
            self.most_running = max(self.most_running, len(self.open))
        answer = await self._pass(request)
        if self.lost_answers:
            self.lost_answers -= 1
            request.transport.abort()
        return answer

    async def _events(self, request: web.Request) -> web.StreamResponse:
        turn = request.match_info["turn"]
        if any(one.turn == turn and one.prompt in self.forgotten for one in self.started):
            self.open.pop(turn, None)
            error = errors.NotFound("There is no such turn.")
            return web.json_response(error.as_json(), status=404)
        return await self._stream(request, turn, self.drops.pop(0) if self.drops else None)

    async def _stream(
        self, request: web.Request, turn: str, most: int | None
    ) -> web.StreamResponse:
        async with self._upstream(request, None) as answer:
            if answer.status != 200:
                body = await answer.read()
                return web.Response(body=body, status=answer.status)
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            passed = 0
            async for line in answer.content:
                if turn and line.strip() == b"event: turn.finished":
                    # Before the bridge knows, so that its next turn is none at the same time.
                    self.open.pop(turn, None)
                try:
                    await response.write(line)
                except ConnectionError:
                    break
                passed += line.startswith(b"data:")
                if most is not None and passed >= most:
                    request.transport.abort()
                    break
            return response
