"""Handlers of usage: by day, person and model, and of one turn."""

from __future__ import annotations

from aiohttp import web
from pydantic import TypeAdapter

from agent_service.contract.usage import TurnUsage, UsageLine
from agent_service.http.guard import identifier, number, reply
from agent_service.http.routes import ADMIN, BRIDGE, Route
from agent_service.store import turns, usage
from agent_service.store.database import Database

_LINES = TypeAdapter(list[UsageLine])
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
            Route("GET", "/v1/turns/{turn_id}/usage", self.turn, "What one turn has used.",
                  both, answer=TurnUsage),
        ]  # fmt: skip

    async def lines(self, request: web.Request) -> web.StreamResponse:
        since = number(request, "since")
        return reply(await self._database.tx(usage.lines, float(since)), _LINES)

    async def turn(self, request: web.Request) -> web.StreamResponse:
        turn_id = identifier(request, "turn_id")
        await self._database.tx(turns.view, turn_id)
        return reply(await self._database.tx(usage.of_turn, turn_id), _TURN)
