"""Handler of metrics: signed like all else, since the service is never published."""

from __future__ import annotations

import sqlalchemy as sa
from aiohttp import web

from agent_service.http.routes import ADMIN, BRIDGE, Route
from agent_service.metrics import Metrics
from agent_service.store import schema
from agent_service.store.database import Database


class MetricsHandlers:
    """The route of metrics."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/metrics", self.metrics, "Counts for Prometheus, in its text format.",
                  frozenset({BRIDGE, ADMIN}), sends="text/plain"),
        ]  # fmt: skip

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        body = self._metrics.text(*await self._database.tx(_now))
        return web.Response(body=body, content_type="text/plain", charset="utf-8")


def _now(db: sa.Connection) -> tuple[dict[str, int], int]:
    """(turns that are not over, by state; decisions that wait)."""
    state = schema.turn.c.state
    open_turns = sa.select(state, sa.func.count()).where(state != "finished").group_by(state)
    waiting = sa.select(sa.func.count()).where(schema.decision.c.state == "waiting")
    by_state = {row[0]: row[1] for row in db.execute(open_turns)}
    return by_state, int(db.execute(waiting).scalar_one())
