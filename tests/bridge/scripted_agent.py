"""An agent service that speaks `/v1` and does what the prompt says; no CLI, no database.

say WORDS · hang · slow SECONDS · ask · fail · conflict · bad · drop · forget · full
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from agent_service.contract import Decision, Question, QuestionOption, errors, events, signing

KEY = "k" * 40


@dataclass
class Turn:
    id: str
    body: dict
    state: str = "running"
    log: list = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    decided: asyncio.Future | None = None
    decision: str = ""
    by: str = ""
    outcome: str = ""


class ScriptedAgent:
    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.turns: dict[str, Turn] = {}
        self.started: list[tuple[float, str, str, str]] = []  # at, turn, conversation, prompt
        self.puts: list[tuple[str, bytes]] = []
        self.warmed: list[dict] = []
        self.decisions: list[dict] = []
        self.feed_log: list[dict] = []
        self.feed_changed = asyncio.Condition()
        self.running: dict[str, int] = {}
        self.most_running = 0
        self.overlaps = 0
        self.refused: list[str] = []
        self.drops = 0
        self.delay = 0.0
        self._nonces: set[str] = set()
        self._verifier = signing.Verifier("agent:main", {"bridge": [KEY]})
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> None:
        app = web.Application(middlewares=[self._signed], client_max_size=4 * 2**20)
        app.router.add_put("/v1/turns/{turn}", self._put)
        app.router.add_get("/v1/turns/{turn}/events", self._events)
        app.router.add_post("/v1/turns/{turn}/interrupt", self._interrupt)
        app.router.add_post("/v1/turns/{turn}/decisions/{decision}", self._decide)
        app.router.add_post("/v1/conversations/{conversation}/warm", self._warm)
        app.router.add_get("/v1/feed", self._feed)
        app.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
        await self._runner.setup()
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def pause(self) -> None:
        """The process goes; what it knows stays, as a database would."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.socket.unlink(missing_ok=True)

    async def stop(self) -> None:
        await self.pause()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @web.middleware
    async def _signed(self, request, handler):
        try:
            call = self._verifier.verify(
                request.headers.get("Authorization"),
                request.method,
                request.raw_path,
                now=time.time(),
            )
            body = await request.read()
            call.check_body(hashlib.sha256(body).hexdigest())
            if call.nonce in self._nonces:
                raise signing.Replayed("seen before")
            self._nonces.add(call.nonce)
        except signing.CallRefused as error:
            self.refused.append(str(error))
            refusal = errors.NotAuthentic(str(error))
            return web.json_response(refusal.as_json(), status=401)
        try:
            return await handler(request)
        except errors.ServiceError as error:
            return web.json_response(error.as_json(), status=error.status)

    async def _health(self, _request):
        return web.json_response({"state": "ok"})

    async def _warm(self, request):
        self.warmed.append(
            {"conversation": request.match_info["conversation"], **await request.json()}
        )
        return web.json_response({})

    def _view(self, turn: Turn):
        return web.json_response(
            {
                "turn_id": turn.id,
                "conversation": turn.body["conversation"],
                "state": turn.state,
                "last_seq": turn.log[-1][0] if turn.log else 0,
                "a_later_field": 1,
            }
        )

    async def _put(self, request):
        raw = await request.read()
        turn_id = request.match_info["turn"]
        if self.delay:
            await asyncio.sleep(self.delay)
        self.puts.append((turn_id, raw))
        body = json.loads(raw)
        prompt = body["prompt"]
        if prompt == "conflict":
            raise errors.Conflict("That id is taken.", remedy="Use another.")
        if prompt == "bad":
            raise errors.BadRequest("The model is unknown.", remedy="Choose another.")
        if prompt == "full":
            raise errors.StorageFull("There is no room for the turn.", remedy="Make room.")
        known = self.turns.get(turn_id)
        if known is not None:
            if known.body != body:
                raise errors.Conflict("That id was used with another body.")
            return self._view(known)
        turn = self.turns[turn_id] = Turn(turn_id, body)
        self.started.append((time.perf_counter(), turn_id, body["conversation"], prompt))
        task = asyncio.create_task(self._run(turn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return self._view(turn)

    async def emit(self, turn: Turn, event) -> None:
        async with turn.changed:
            turn.log.append((len(turn.log) + 1, events.to_json(event)))
            turn.changed.notify_all()

    async def become(self, turn: Turn, state: str) -> None:
        turn.state = state
        async with self.feed_changed:
            self.feed_log.append(
                {
                    "seq": len(self.feed_log) + 1,
                    "turn_id": turn.id,
                    "conversation": turn.body["conversation"],
                    "state": state,
                }
            )
            self.feed_changed.notify_all()

    async def _run(self, turn: Turn) -> None:
        conversation = turn.body["conversation"]
        self.running[conversation] = self.running.get(conversation, 0) + 1
        self.overlaps += self.running[conversation] > 1
        self.most_running = max(self.most_running, sum(self.running.values()))
        try:
            await self._script(turn)
        finally:
            self.running[conversation] -= 1

    async def _script(self, turn: Turn) -> None:
        word, _, rest = turn.body["prompt"].partition(" ")
        await self.emit(turn, events.TurnStarted("scripted", False))
        outcome = events.TurnFinished("completed")
        if word == "hang":
            await self.emit(turn, events.TextDelta("working"))
            await turn.stop.wait()
            outcome = events.TurnFinished("interrupted", "stopped", "It was stopped.")
        elif word == "slow":
            await self.emit(turn, events.TextDelta("slo"))
            await asyncio.sleep(float(rest))
            await self.emit(turn, events.Text("slow is done"))
        elif word == "ask":
            outcome = await self._ask(turn, rest)
        elif word == "fail":
            await self.emit(turn, events.Text("half of it"))
            outcome = events.TurnFinished("failed", "agent_crashed", "It broke.", "Try again.")
        else:
            text = rest or turn.body["prompt"]
            for part in text.split(" "):
                await self.emit(turn, events.TextDelta(part + " "))
                if word == "drip":
                    await asyncio.sleep(0.02)
            await self.emit(turn, events.Text(text))
        await self.become(turn, "finished")
        await self.emit(turn, outcome)

    async def _ask(self, turn: Turn, rest: str):
        turn.decided = asyncio.get_running_loop().create_future()
        turn.decision = f"d{len(self.decisions)}{turn.id[-8:]}"
        questions = ()
        if rest == "question":
            questions = (
                Question("Which?", "which", (QuestionOption("red"), QuestionOption("blue"))),
            )
        asked = Decision(
            turn.decision,
            turn.id,
            "question" if questions else "tool",
            "Bash",
            "rm -r build",
            questions=questions,
        )
        await self.emit(turn, events.DecisionRequested(asked))
        turn.state = "waiting"
        await self.emit(turn, events.TurnWaiting(turn.decision))
        await self.become(turn, "waiting")
        stopped = asyncio.create_task(turn.stop.wait())
        try:
            await asyncio.wait([turn.decided, stopped], return_when="FIRST_COMPLETED")
        finally:
            stopped.cancel()
        await self.become(turn, "running")
        if turn.stop.is_set():
            return events.TurnFinished("interrupted", "stopped", "It was stopped.")
        state = {"allow": "allowed", "deny": "denied", "answer": "answered"}[turn.outcome]
        await self.emit(turn, events.DecisionResolved(turn.decision, state, turn.by))
        await self.emit(turn, events.Text(f"It was {state}."))
        return events.TurnFinished("completed")

    async def _interrupt(self, request):
        turn = self._known(request)
        turn.stop.set()
        return self._view(turn)

    def _known(self, request) -> Turn:
        turn = self.turns.get(request.match_info["turn"])
        if turn is None:
            raise errors.NotFound("There is no such turn.")
        return turn

    async def _decide(self, request):
        turn = self._known(request)
        body = await request.json()
        if request.match_info["decision"] != turn.decision:
            raise errors.NotFound("There is no such decision.")
        if turn.outcome:
            raise errors.AlreadyDecided("Decided.", decided_by=turn.by, outcome=turn.outcome)
        turn.outcome, turn.by = body["outcome"], body["decided_by"]
        self.decisions.append(body)
        turn.decided.set_result(None)
        return web.json_response({"id": turn.decision, "turn_id": turn.id, "state": "allowed"})

    async def _events(self, request):
        turn = self._known(request)
        if turn.body["prompt"] == "forget":
            raise errors.NotFound("There is no such turn.")
        after = int(request.query["after"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": hello\n\n")
        sent = 0
        while True:
            async with turn.changed:
                await turn.changed.wait_for(lambda: turn.log and turn.log[-1][0] > after)
            for seq, data in [line for line in turn.log if line[0] > after]:
                after = seq
                text = f"id: {seq}\nevent: {data['kind']}\ndata: {json.dumps(data)}\n\n"
                await response.write(text.encode())
                sent += 1
                if turn.body["prompt"].startswith("drop") and sent == 2 and self.drops < 3:
                    self.drops += 1
                    request.transport.abort()
                    return response
                if data["kind"] in ("turn.waiting", "turn.finished"):
                    return response

    async def _feed(self, request):
        after = int(request.query["after"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            async with self.feed_changed:
                await self.feed_changed.wait_for(lambda: len(self.feed_log) > after)
            for entry in self.feed_log[after:]:
                after = entry["seq"]
                text = f"id: {after}\nevent: feed\ndata: {json.dumps(entry)}\n\n"
                await response.write(text.encode())
