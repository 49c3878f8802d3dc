"""Handler of the audit log."""

from __future__ import annotations

from aiohttp import web
from pydantic import TypeAdapter

from agent_service.contract.audit import AuditEntry
from agent_service.http.guard import number, reply
from agent_service.http.routes import ADMIN, Route
from agent_service.store.audit import AuditLog

_PAGE = TypeAdapter(tuple[AuditEntry, ...])


class AuditHandlers:
    """The route under /v1/audit."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/audit", self.page, "What was done, oldest first, 200 at a time.",
                  frozenset({ADMIN}), answer=tuple[AuditEntry, ...],
                  query={"after": "The number of the last entry that is known.",
                         "before": "Instead those below this number, newest first."}),
        ]  # fmt: skip

    async def page(self, request: web.Request) -> web.StreamResponse:
        if before := number(request, "before"):
            return reply(tuple(await self._log.newest(before)), _PAGE)
        return reply(tuple(await self._log.page(number(request, "after"))), _PAGE)
