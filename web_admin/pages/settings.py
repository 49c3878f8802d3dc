"""Settings: where the pages are reached, how this very request arrived, and the adapters."""

from __future__ import annotations

from aiohttp import web

from bridge.contract import CheckView
from web_admin.entry.found import ARRIVAL
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk


class Settings:
    """Pages under /settings, for operators. Values come from the environment: here they are seen
    and checked."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/settings", self.all, "operator"),
            Page("GET", "/settings/adapters/{name}", self.adapter, "operator"),
            Page("POST", "/settings/adapters/{name}/check", self.check, "operator"),
        ]

    async def all(self, request: web.Request) -> web.StreamResponse:
        settings = self._desk.settings
        return self._desk.page(
            request,
            "settings.html",
            arrival=request[ARRIVAL],
            settings=settings,
            public=self._desk.public,
            listen=settings.admin_listen,
            odd=settings.reached_elsewhere(),
            adapters=await self._desk.bridge.adapters(),
        )

    async def adapter(self, request: web.Request) -> web.StreamResponse:
        return await self._adapter(request, None)

    async def check(self, request: web.Request) -> web.StreamResponse:
        lines = await self._desk.bridge.check(request.match_info["name"])
        return await self._adapter(request, lines)

    async def _adapter(
        self, request: web.Request, lines: tuple[CheckView, ...] | None
    ) -> web.StreamResponse:
        for one in await self._desk.bridge.adapters():
            if one.name == request.match_info["name"]:
                return self._desk.page(request, "adapter.html", adapter=one, lines=lines)
        raise web.HTTPNotFound
