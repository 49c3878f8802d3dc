"""The HTTP application, assembled from the route table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version

from aiohttp import web

from agent_service.contract.signing import Verifier
from agent_service.egress.hosts import Hosts
from agent_service.http.audit import AuditHandlers
from agent_service.http.conversations import ConversationHandlers
from agent_service.http.credentials import CredentialHandlers
from agent_service.http.egress import EgressHandlers
from agent_service.http.guard import Guard
from agent_service.http.metrics import MetricsHandlers
from agent_service.http.openapi import document
from agent_service.http.policy import PolicyHandlers
from agent_service.http.routes import Route
from agent_service.http.turns import TurnHandlers
from agent_service.http.usage import UsageHandlers
from agent_service.http.workspaces import WorkspaceHandlers
from agent_service.metrics import Metrics
from agent_service.policy.forged import Forged
from agent_service.policy.policies import Policies
from agent_service.store.audit import AuditLog
from agent_service.store.database import Database
from agent_service.turns.runner import TurnRunner
from agent_service.workspaces.directory import Workspaces

AUDIENCE = "agent:main"
"""What callers sign for: this service, this node."""


class MetaHandlers:
    """Health and the description of the service: public, and they tell nothing else."""

    def __init__(self, database: Database, ready: Callable[[], bool]) -> None:
        self._database = database
        self._ready = ready
        self.routes_described: list[Route] = []

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/healthz", self.healthz, "The process lives.", public=True),
            Route("GET", "/readyz", self.readyz, "It can run turns.", public=True),
            Route("GET", "/v1/openapi.json", self.openapi, "This document.", public=True),
        ]

    async def healthz(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok", "version": version("bascule")})

    async def readyz(self, _request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(5):
                await self._database.tx(lambda db: db.exec_driver_sql("SELECT 1").scalar())
        except Exception:  # noqa: BLE001 - whatever is wrong with the store, the answer is the same
            return web.json_response({"status": "store unusable"}, status=503)
        if not self._ready():
            return web.json_response({"status": "starting"}, status=503)
        return web.json_response({"status": "ready"})

    async def openapi(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(document(self.routes_described, version("bascule")))


def make_app(
    database: Database,
    runner: TurnRunner,
    policies: Policies,
    credentials: CredentialHandlers,
    hosts: Hosts,
    metrics: Metrics,
    verifier: Verifier,
    ready: Callable[[], bool],
) -> web.Application:
    """The application; whoever serves it has opened the database and started the runner."""
    meta, workspaces = MetaHandlers(database, ready), runner.workspaces
    forged = Forged(database)
    routes = [
        *meta.routes(),
        *TurnHandlers(runner, policies, forged).routes(),
        *PolicyHandlers(policies, runner, forged).routes(),
        *ConversationHandlers(runner).routes(),
        *WorkspaceHandlers(workspaces, runner, database, hosts).routes(),
        *EgressHandlers(hosts, runner, database).routes(),
        *UsageHandlers(database).routes(),
        *MetricsHandlers(database, metrics).routes(),
        *credentials.routes(),
        *AuditHandlers(AuditLog(database)).routes(),
    ]
    meta.routes_described = routes
    guard = Guard(verifier, database, routes, workspaces.uploads)
    app = web.Application(middlewares=[guard.middleware()])
    app.cleanup_ctx.append(_sweeping(workspaces))
    for route in routes:
        app.router.add_route(route.method, route.path, route.handler)
    return app


def _sweeping(workspaces: Workspaces) -> Callable[[web.Application], AsyncIterator[None]]:
    async def sweep(_app: web.Application) -> AsyncIterator[None]:
        """What an earlier start left half removed goes on being removed, beside the serving."""
        sweeping = asyncio.create_task(workspaces.threads.slow(workspaces.sweep))
        yield
        workspaces.threads.close()
        await asyncio.gather(sweeping, return_exceptions=True)

    return sweep
