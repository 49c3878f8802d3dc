"""Handlers of egress: which hosts a workspace may reach."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import TypeAdapter

from agent_service.contract.egress import PATTERN_LIMIT, WorkspaceEgress
from agent_service.contract.errors import BadRequest
from agent_service.egress.allow import HostPattern, PatternInvalid
from agent_service.egress.hosts import Hosts
from agent_service.http.guard import CALL, checked_id, identifier, reply, text
from agent_service.http.routes import ADMIN, BRIDGE, Route
from agent_service.policy.policies import Policies
from agent_service.store import workspaces
from agent_service.store.database import Database
from agent_service.turns.runner import TurnRunner

_VIEW = TypeAdapter(WorkspaceEgress)
_LONGEST_NAME = 200
_FORMS = "Write example.org, example.org:8443 or *.example.org; the port is 443 where none stands."


class EgressHandlers:
    """Routes under /v1/workspaces/{workspace}/egress."""

    def __init__(self, hosts: Hosts, runner: TurnRunner, database: Database) -> None:
        self._hosts = hosts
        self._runner = runner
        self._database = database

    def routes(self) -> list[Route]:
        path, both = "/v1/workspaces/{workspace}/egress", frozenset({BRIDGE, ADMIN})
        pattern = {"pattern": "example.org, example.org:8443 or *.example.org."}
        by = {"by": "The id of the person who wants it; the bridge must say it."}
        return [
            Route("GET", path, self.view, "The hosts its agent may reach beyond the model, and who "
                  "allowed them.", both, answer=WorkspaceEgress),
            Route("PUT", path, self.allow, "Allow a host; acts at once, idempotent; makes the "
                  "workspace if need be.", both, answer=WorkspaceEgress, needs=pattern, texts=by),
            Route("DELETE", path, self.take_back, "Take a host back; breaks off what is open to "
                  "it.", both, answer=WorkspaceEgress, needs=pattern, texts=by),
        ]  # fmt: skip

    async def view(self, request: web.Request) -> web.StreamResponse:
        workspace = identifier(request, "workspace")
        await self._database.tx(workspaces.made_at, workspace)
        return reply(await self._hosts.view(workspace), _VIEW)

    async def allow(self, request: web.Request) -> web.StreamResponse:
        return await self._change(request, self._runner.admit, self._hosts.add)

    async def take_back(self, request: web.Request) -> web.StreamResponse:
        async def known(workspace: str) -> None:
            await self._database.tx(workspaces.made_at, workspace)

        return await self._change(request, known, self._hosts.remove)

    async def _change(
        self,
        request: web.Request,
        check: Callable[[str], Awaitable[None]],
        change: Callable[[str, HostPattern, str], Awaitable[WorkspaceEgress]],
    ) -> web.StreamResponse:
        workspace = identifier(request, "workspace")
        pattern, by = _pattern(text(request, "pattern")), _by(request)
        if request[CALL].caller == BRIDGE:
            person = text(request, "by")
            await self._database.tx(Policies.check_decider, workspace, person)

        async def do() -> WorkspaceEgress:
            with self._runner.workspaces.claims.using(workspace):
                await check(workspace)
                return await change(workspace, pattern, by)

        # What is stored must be in force too, also for a caller that hangs up.
        return reply(await asyncio.shield(do()), _VIEW)


def _pattern(given: str) -> HostPattern:
    if len(given) > PATTERN_LIMIT:
        raise BadRequest(f"pattern: longer than {PATTERN_LIMIT} characters.", field="pattern")
    try:
        return HostPattern.parse(given)
    except PatternInvalid as error:
        raise BadRequest(f"pattern: {error}.", remedy=_FORMS, field="pattern") from None


def _by(request: web.Request) -> str:
    caller, by = request[CALL].caller, text(request, "by")
    if caller == BRIDGE:
        return f"{caller}:{checked_id(by, 'by')}"
    if len(by) > _LONGEST_NAME or not by.isprintable():
        raise BadRequest("by: at most 200 printable characters.", field="by")
    return f"{caller}:{by}" if by else caller
