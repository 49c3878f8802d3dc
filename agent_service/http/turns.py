"""Handlers of turns: put, view, follow, interrupt, decide, and the feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response
from pydantic import TypeAdapter

from agent_service.contract import events
from agent_service.contract.decisions import DecisionAnswer, DecisionView
from agent_service.contract.errors import BadRequest, NotFound
from agent_service.contract.turns import (
    MODEL_LIMIT,
    MOST_FILES,
    PROMPT_LIMIT,
    STRICT,
    TurnRequest,
    TurnView,
    says_nothing,
)
from agent_service.http.guard import checked_id, dumps, identifier, number, parsed, reply
from agent_service.http.routes import ADMIN, BRIDGE, Route
from agent_service.policy.forged import Forged
from agent_service.policy.policies import Policies
from agent_service.turns.runner import TurnRunner
from agent_service.workspaces import beneath

_REQUEST = TypeAdapter(TurnRequest)
_VIEW = TypeAdapter(TurnView)
_ANSWER = TypeAdapter(DecisionAnswer)
_PLACE = TypeAdapter(events.FeedPlace)
_DECISION = TypeAdapter(DecisionView)


@dataclass(frozen=True, slots=True)
class Interrupt:
    """What `POST …/interrupt` takes: who stops it, for people to read."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    by: str = ""


_INTERRUPT = TypeAdapter(Interrupt)


def checked(request: TurnRequest) -> TurnRequest:
    """The request, if it can be run. Raises `BadRequest` that names the field."""
    checked_id(request.conversation, "conversation")
    checked_id(request.workspace, "workspace")
    checked_id(request.asker.person, "asker.person")
    if len(request.attachments) > MOST_FILES:
        raise BadRequest(f"attachments: at most {MOST_FILES} files.", field="attachments")
    for file in request.attachments:
        if not beneath.parts_of(file.path) or not file.path.isprintable():
            raise BadRequest("attachments: that is no path of a file.", field="attachments")
    if says_nothing(request.prompt) and not request.attachments:
        raise BadRequest("The message is empty.", remedy="Write something.", field="prompt")
    model = request.model
    if model is not None and not (0 < len(model) <= MODEL_LIMIT and model.isprintable()):
        raise BadRequest("model: that is not a model's name.", field="model")
    size = len(request.prompt) + sum(len(q.author) + len(q.text) for q in request.quotes)
    if size > PROMPT_LIMIT:
        raise BadRequest(
            f"The message has {size:,} characters; {PROMPT_LIMIT:,} are possible.",
            remedy="Send it as a file, or in parts.",
            field="prompt",
        )
    if not 1 <= request.limits.seconds <= 24 * 3600:
        raise BadRequest("limits.seconds: from 1 to 86400.", field="limits.seconds")
    if not 1 <= request.limits.steps <= 10_000:
        raise BadRequest("limits.steps: from 1 to 10000.", field="limits.steps")
    return request


async def _until_gone(
    response: EventSourceResponse, source: AsyncIterator[tuple[int, str, dict[str, Any]]]
) -> None:
    """Send events until the source ends or the reader is gone (a quiet source would never
    notice by itself)."""

    async def send() -> None:
        async for seq, kind, data in source:
            await response.send(dumps(data), id=str(seq), event=kind)

    sender = asyncio.create_task(send())
    gone = asyncio.create_task(response.wait())
    try:
        await asyncio.wait({sender, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        sender.cancel()
        results = await asyncio.gather(sender, gone, return_exceptions=True)
    error = results[0]
    if isinstance(error, Exception) and not isinstance(error, ConnectionError):
        raise error


class TurnHandlers:
    """Routes under /v1/turns and /v1/feed."""

    def __init__(self, runner: TurnRunner, policies: Policies, forged: Forged) -> None:
        self._runner = runner
        self._policies = policies
        self._forged = forged

    def routes(self) -> list[Route]:
        one, bridge = "/v1/turns/{turn_id}", frozenset({BRIDGE})
        both = frozenset({BRIDGE, ADMIN})
        after = {"after": "Only what is numbered above this."}
        return [
            Route("PUT", one, self.put, "Run a turn; idempotent.", bridge, False,
                  TurnRequest, TurnView),
            Route("GET", one, self.view, "A turn as it stands.", both, answer=TurnView),
            Route("GET", one + "/events", self.events, "The turn's events, until it waits or ends.",
                  both, answer=events.Event, stream=True, query=after),
            Route("POST", one + "/interrupt", self.interrupt, "Stop a turn.", bridge,
                  body=Interrupt, answer=TurnView),
            Route("GET", one + "/decisions/{decision_id}", self.decision, "How a decision stands.",
                  bridge, answer=DecisionView),
            Route("POST", one + "/decisions/{decision_id}", self.decide, "Answer a decision.",
                  bridge, body=DecisionAnswer, answer=DecisionView),
            Route("GET", "/v1/feed", self.feed, "What becomes of turns, for ever.", bridge,
                  answer=events.FeedEntry, stream=True, query=after),
            Route("GET", "/v1/feed/last", self.feed_place, "How far the feed has come.", bridge,
                  answer=events.FeedPlace),
        ]  # fmt: skip

    async def put(self, request: web.Request) -> web.StreamResponse:
        turn_id = identifier(request, "turn_id")
        wanted = checked(parsed(request, _REQUEST))
        await self._policies.check_mode(wanted.mode)
        return reply(await asyncio.shield(self._runner.put(turn_id, wanted)), _VIEW)

    async def view(self, request: web.Request) -> web.StreamResponse:
        return reply(await self._runner.view(identifier(request, "turn_id")), _VIEW)

    async def events(self, request: web.Request) -> web.StreamResponse:
        turn_id, after = identifier(request, "turn_id"), number(request, "after")
        await self._runner.view(turn_id)

        async def source() -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
            async for numbered in self._runner.readers.events(turn_id, after):
                event = numbered.event
                yield numbered.seq, event.kind, events.to_json(event)

        async with sse_response(request) as response:
            await _until_gone(response, source())
        return response

    async def feed(self, request: web.Request) -> web.StreamResponse:
        after = number(request, "after")

        async def source() -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
            async for entry in self._runner.readers.feed(after):
                yield entry.seq, f"turn.{entry.state}", asdict(entry)

        async with sse_response(request) as response:
            await _until_gone(response, source())
        return response

    async def feed_place(self, request: web.Request) -> web.StreamResponse:
        return reply(events.FeedPlace(await self._runner.readers.feed_place()), _PLACE)

    async def interrupt(self, request: web.Request) -> web.StreamResponse:
        turn_id, body = identifier(request, "turn_id"), parsed(request, _INTERRUPT)
        return reply(await asyncio.shield(self._runner.interrupt(turn_id, body.by)), _VIEW)

    async def decision(self, request: web.Request) -> web.StreamResponse:
        turn_id = identifier(request, "turn_id")
        decision_id = identifier(request, "decision_id")
        return reply(await self._runner.decision(turn_id, decision_id), _DECISION)

    async def decide(self, request: web.Request) -> web.StreamResponse:
        turn_id = identifier(request, "turn_id")
        decision_id = identifier(request, "decision_id")
        given = parsed(request, _ANSWER)
        checked_id(given.decided_by, "decided_by")
        answered = self._runner.decide(turn_id, decision_id, given)
        try:
            return reply(await asyncio.shield(answered), _DECISION)
        except NotFound:
            await self._forged.note(decision_id, given.decided_by)
            raise
