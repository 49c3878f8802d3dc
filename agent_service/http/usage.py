"""Handlers of usage: by day, person and model, and of one turn."""

from __future__ import annotations

from aiohttp import web
from pydantic import TypeAdapter

from agent_service.contract.errors import BadRequest
from agent_service.contract.usage import TurnUsage, UsageBy, UsageLine, UsageSum
from agent_service.http.guard import checked_id, identifier, number, reply, text
from agent_service.http.routes import ADMIN, BRIDGE, Route
from agent_service.store import turns, usage
from agent_service.store.database import Database

_LINES = TypeAdapter(list[UsageLine])
_SUMS = TypeAdapter(list[UsageSum])
_TURN = TypeAdapter(TurnUsage)


class UsageHandlers:
    """Routes of usage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        both = frozenset({BRIDGE, ADMIN})
        since = {"since": "Seconds since the epoch: only what was used from then on."}
        return [
            Route("GET", "/v1/usage", self.lines, "What was used, by day, person and model.",
                  both, answer=list[UsageLine], query=since),
            Route("GET", "/v1/usage/sums", self.sums,
                  "What was used, by person or model, the dearest first.",
                  both, answer=list[UsageSum], query=since,
                  texts={"by": "`person` (also where absent) or `model`.",
                         "person": "Only what this one used."}),
            Route("GET", "/v1/turns/{turn_id}/usage", self.turn, "What one turn has used.",
                  both, answer=TurnUsage),
        ]  # fmt: skip

    async def lines(self, request: web.Request) -> web.StreamResponse:
        since = number(request, "since")
        return reply(await self._database.tx(usage.lines, float(since)), _LINES)

    async def sums(self, request: web.Request) -> web.StreamResponse:
        since, by, person = number(request, "since"), text(request, "by"), text(request, "person")
        if by not in ("", "person", "model"):
            raise BadRequest("by: neither person nor model.", field="by")
        if person:
            checked_id(person, "person")
        kind: UsageBy = "model" if by == "model" else "person"
        return reply(await self._database.tx(usage.sums, float(since), kind, person), _SUMS)

    async def turn(self, request: web.Request) -> web.StreamResponse:
        turn_id = identifier(request, "turn_id")
        await self._database.tx(turns.view, turn_id)
        return reply(await self._database.tx(usage.of_turn, turn_id), _TURN)
