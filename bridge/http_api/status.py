"""Handlers of how the bridge is, and of its adapters' set-up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version

import sqlalchemy as sa
from aiohttp import web
from pydantic import TypeAdapter

from adapters.contract import Plugin
from agent_service.contract.errors import NotFound
from bridge import plugins
from bridge.contract import (
    AdapterView,
    BridgeStatus,
    CheckView,
    ClaimView,
    FieldView,
    PartView,
)
from bridge.conversations import overview
from bridge.http_api.guard import reply
from bridge.http_api.health import Part
from bridge.http_api.routes import Route
from bridge.people import claim, strangers
from bridge.store.database import Database

Parts = Callable[[], Awaitable[dict[str, Part]]]
CHECK_SECONDS = 20.0
_STATUS = TypeAdapter(BridgeStatus)
_ADAPTERS = TypeAdapter(tuple[AdapterView, ...])
_CHECKS = TypeAdapter(tuple[CheckView, ...])


class StatusHandlers:
    """/v1/status and routes under /v1/adapters."""

    def __init__(
        self,
        db: Database,
        parts: Parts,
        enabled: Sequence[str],
        given: Mapping[str, Mapping[str, str]],
    ) -> None:
        """`given` are settings of adapters in place of the environment's."""
        self._db = db
        self._parts = parts
        self._enabled = enabled
        self._given = given

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/status", self.status),
            Route("GET", "/v1/adapters", self.adapters),
            Route("POST", "/v1/adapters/{name}/check", self.check),
        ]

    async def status(self, _request: web.Request) -> web.StreamResponse:
        def fn(con: sa.Connection) -> tuple[tuple[int, int, int, int], int, bool]:
            asking = len(strangers.waiting(con, self._db))
            return overview.counts(con), asking, claim.needed(con)

        parts = tuple(_part(name, part) for name, part in (await self._parts()).items())
        counted, asking, needed = await self._db.tx(fn, durable=False)
        status = BridgeStatus(version("bascule"), parts, *counted, asking, ClaimView(needed))
        return reply(status, _STATUS)

    async def adapters(self, _request: web.Request) -> web.StreamResponse:
        parts = await self._parts()
        plugins_there = await asyncio.to_thread(plugins.loadable)
        views = tuple(self._view(plugin, parts) for plugin in plugins_there)
        return reply(views, _ADAPTERS)

    def _view(self, plugin: Plugin, parts: Mapping[str, Part]) -> AdapterView:
        values = self._values(plugin)
        fields = tuple(
            FieldView(
                one.name,
                one.help,
                one.secret,
                one.required,
                bool(values.get(one.name)),
                "" if one.secret else values.get(one.name, ""),
            )
            for one in plugin.settings.fields
        )
        name = f"adapter {plugin.name}"
        part = _part(name, parts[name]) if name in parts else None
        return AdapterView(
            plugin.name,
            plugin.name in self._enabled,
            plugin.settings.guide,
            fields,
            plugin.settings.check is not None,
            part,
        )

    def _values(self, plugin: Plugin) -> Mapping[str, str]:
        given = self._given.get(plugin.name)
        return plugins.values_of(plugin) if given is None else given

    async def check(self, request: web.Request) -> web.StreamResponse:
        """Try the settings against the platform, with what this process was given."""
        found = {one.name: one for one in await asyncio.to_thread(plugins.loadable)}
        plugin = found.get(request.match_info["name"])
        if plugin is None or plugin.settings.check is None:
            raise NotFound("There is no such adapter, or nothing to check about it.")
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                lines = await plugin.settings.check(self._values(plugin))
        except TimeoutError:
            slow = CheckView("Check", "failed", f"No answer within {CHECK_SECONDS:.0f} s.")
            return reply((slow,), _CHECKS)
        views = tuple(CheckView(one.title, one.state, one.detail, one.remedy) for one in lines)
        return reply(views, _CHECKS)


def _part(name: str, part: Part) -> PartView:
    return PartView(name, part.state, part.detail, part.remedy)
