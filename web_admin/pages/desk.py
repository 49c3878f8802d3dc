"""What every page works with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from agent_service.contract import errors
from web_admin.calls.agent import Agent
from web_admin.calls.bridge import Bridge
from web_admin.entry.cookies import Cookies
from web_admin.entry.found import SESSION
from web_admin.entry.public import PublicUrl
from web_admin.render import Render
from web_admin.settings import AdminSettings
from web_admin.store import audit, sessions
from web_admin.store.accounts import Accounts
from web_admin.store.database import Database

MOST_PAGES = 20
"""Pages of people that are read to know their names: 1,000 people."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One a process."""

    settings: AdminSettings
    public: PublicUrl
    database: Database
    accounts: Accounts
    agent: Agent
    bridge: Bridge
    render: Render
    cookies: Cookies
    link_keys: Sequence[str] = field(repr=False)
    clock: Callable[[], float] = time.time

    def page(self, request: web.Request, template: str, **data: Any) -> web.Response:
        """The answer with this page."""
        return self.render.page(request, template, **data)

    async def told(self, request: web.Request, where: str, text: str) -> web.StreamResponse:
        """On to another page, which says this once."""
        if text and (session := request.get(SESSION)) is not None:
            await self.database.tx(sessions.say, session.id, text)
        return self.to(where)

    def to(self, where: str) -> web.Response:
        """On to a page below PUBLIC_URL. Always our own: `where` begins with a slash of ours."""
        return web.Response(status=303, headers={"Location": f"{self.public.base}{where}"})

    async def note(self, request: web.Request, kind: str, subject: str, **detail: Any) -> None:
        """In the web admin's own audit log, in the name of who is signed in."""
        await self.database.tx(audit.append, kind, request[SESSION].person, subject, detail)

    async def names(self) -> dict[str, str]:
        """The names of people by their ids; what is missing stands for itself."""
        found: dict[str, str] = {}
        after = ""
        for _ in range(MOST_PAGES):
            try:
                page = await self.bridge.people("", after)
            except errors.ServiceError:
                return found
            found |= {person.id: person.name for person in page.people}
            if page.next is None:
                break
            after = page.next
        return found
