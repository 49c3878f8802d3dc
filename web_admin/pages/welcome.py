"""The first steps: what is done and what is left, by how things stand."""

from __future__ import annotations

from aiohttp import web

from agent_service.contract import errors
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk


class Welcome:
    """/welcome, where a claim leads to."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        return [Page("GET", "/welcome", self.page, "operator")]

    async def page(self, request: web.Request) -> web.StreamResponse:
        desk = self._desk
        try:
            credentials = [
                one
                for one in await desk.agent.credentials()
                if not one.person and one.state == "active"
            ]
        except errors.ServiceError:
            credentials = []
        adapters = await desk.bridge.adapters()
        conversations = (await desk.bridge.conversations()).conversations
        return desk.page(
            request,
            "welcome.html",
            credentials=credentials,
            tested=any(one.tested_at for one in credentials),
            adapters=adapters,
            enabled=[one for one in adapters if one.enabled and one.name != "console"],
            talked=bool(conversations),
            public=desk.public,
        )
