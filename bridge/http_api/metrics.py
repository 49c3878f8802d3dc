"""`/metrics` and `/metrics/agent`, for who has the token. Without a token there are none.

An address proves nothing here: behind a proxy on the same machine everybody comes from loopback.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from aiohttp import web

from agent_service.contract import errors

Source = Callable[[], Awaitable[bytes]]
TYPE = "text/plain; version=0.0.4; charset=utf-8"


def init_app(app: web.Application, token: str, own: Source, agents: Source) -> None:
    """Register the routes, unless the token is empty. `agents` raises `ServiceError`."""
    if not token:
        return

    def allowed(request: web.Request) -> bool:
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        return hmac.compare_digest(given, f"Bearer {token}".encode())

    async def answer(request: web.Request, source: Source) -> web.Response:
        if not allowed(request):
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        try:
            body = await source()
        except errors.ServiceError as error:
            return web.Response(status=503, text=f"{error.message}\n")
        return web.Response(body=body, headers={"Content-Type": TYPE})

    async def of_bridge(request: web.Request) -> web.Response:
        return await answer(request, own)

    async def of_agent(request: web.Request) -> web.Response:
        return await answer(request, agents)

    app.router.add_get("/metrics", of_bridge)
    app.router.add_get("/metrics/agent", of_agent)
