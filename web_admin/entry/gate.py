"""The gate before every page: how it arrived, who it is, whether they may, and from which page.

In this order: the way here (`arrival`), the route (`routes`), who is signed in and what they are by
the bridge's word now, their rank, and for a form the page it was sent from.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import structlog
from aiohttp import web

from agent_service.contract import errors
from web_admin.calls.bridge import Bridge
from web_admin.entry import arrival, cross_site, headers
from web_admin.entry.address import Ranges
from web_admin.entry.arrival import FORWARDED, Arrival
from web_admin.entry.cookies import Cookies
from web_admin.entry.found import ARRIVAL, CSRF, FORM, SESSION
from web_admin.entry.public import PublicUrl
from web_admin.entry.routes import Page, may
from web_admin.render import Render
from web_admin.store import sessions
from web_admin.store.database import Database, StoreError
from web_admin.store.sessions import Session

log = structlog.get_logger()

STALE_SECONDS = 3600.0
"""How long somebody's role is believed while the bridge, which knows it, is away: long enough to
revoke a credential meanwhile."""
VISIT_SECONDS = 3600.0
HTMX = "HX-Request"


class Gate:
    """aiohttp middleware for the pages of one web admin."""

    def __init__(
        self,
        database: Database,
        bridge: Bridge,
        render: Render,
        public: PublicUrl,
        trusted: Ranges,
        *,
        idle_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._bridge = bridge
        self._render = render
        self._public = public
        self._trusted = trusted
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._pages: dict[str, Page] = {}
        self.cookies = Cookies(public)

    def know(self, pages: Sequence[Page]) -> None:
        """The pages there are."""
        self._pages = {f"{page.method} {self._public.base}{page.path}": page for page in pages}

    async def prepare(self, request: web.Request, answer: web.StreamResponse) -> None:
        """For the application's `on_response_prepare`."""
        headers.secure(answer, request.get(ARRIVAL) or self._arrival(request))

    def middleware(self) -> Any:
        @web.middleware
        async def gate(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            request[ARRIVAL] = self._arrival(request)
            try:
                return await self._handle(request, handler)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                return self._problem(request, error.status, *_WORDS.get(error.status, _OTHER))
            except cross_site.CrossSite as error:
                log.warning("form refused", path=request.path, reason=str(error))
                return self._problem(request, 403, str(error), error.remedy)
            except errors.ServiceError as error:
                return self._problem(request, error.status, error.message, error.remedy)
            except StoreError as error:
                return self._problem(request, 507, str(error), error.remedy)
            except ConnectionResetError:
                raise
            except Exception:
                log.exception("page failed", method=request.method, path=request.path)
                return self._problem(request, 500, "Something went wrong here.", "See the log.")

        return gate

    def _arrival(self, request: web.Request) -> Arrival:
        said = {name: request.headers.getall(name, []) for name in (*FORWARDED, "Host")}
        return arrival.look(request.remote or "", said, self._public, self._trusted)

    async def _handle(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        here = request[ARRIVAL]
        if request.path == "/healthz":
            return await handler(request)
        if here.refused and not request.path.startswith(f"{self._public.base}/static/"):
            return self._render.page(request, "arrival.html", status=403, arrival=here)
        resource = request.match_info.route.resource
        page = self._pages.get(f"{request.method} {resource.canonical}") if resource else None
        if page is None:
            # What is wrong with it (404, 405) the router knows; its handler does nothing else.
            return await handler(request)
        session = await self._session(request, here)
        if session is not None:
            request[SESSION] = session
            request[CSRF] = session.csrf
        if session is None and page.who != "anyone":
            return self._sign_in_first(request)
        if session is not None and not may(session.role, page.who):
            return self._problem(
                request, 403, "That page is not for you.", f"It is for {page.who}s of this Bascule."
            )
        fresh = "" if session is not None else self._visit(request, here)
        if request.method == "POST":
            cross_site.check_origin(request, here)
            form = request[FORM] = await request.post()
            given = request.headers.get(cross_site.HEADER) or form.get(cross_site.FIELD)
            cross_site.check_token(given if isinstance(given, str) else "", request[CSRF])
        answer = await handler(request)
        if fresh and not answer.prepared:
            self.cookies.set(answer, "visit", fresh, secure=here.secure, seconds=VISIT_SECONDS)
        return answer

    def _visit(self, request: web.Request, here: Arrival) -> str:
        """A visitor's token is their cookie: nobody else can read or set it. Gives a new one where
        one is to be set."""
        kept = self.cookies.read(request, "visit", secure=here.secure)
        fresh = "" if len(kept) == 32 else secrets.token_urlsafe(24)
        request[CSRF] = fresh or kept
        return fresh if request.method == "GET" else ""

    async def _session(self, request: web.Request, here: Arrival) -> Session | None:
        token = self.cookies.read(request, "session", secure=here.secure)
        if not token:
            return None
        now = self._clock()
        used = HTMX not in request.headers
        found = await self._database.tx(
            sessions.find, token[:200], now, self._idle_seconds, used=used
        )
        return None if found is None else await self._as_of_now(found, now)

    async def _as_of_now(self, found: Session, now: float) -> Session | None:
        """With what the bridge says they are now: who was blocked is out at once."""
        try:
            person = await self._bridge.person(found.person)
        except errors.NotFound:
            role, name, workspace = "removed", found.name, found.workspace
        except errors.ServiceError:
            if now - found.told_at > STALE_SECONDS:
                raise
            return found
        else:
            role, name, workspace = person.role, person.name, person.workspace
        if role in ("blocked", "removed"):
            await self._database.tx(sessions.end_all, found.person, "bridge")
            return None
        known = (found.name, found.role, found.workspace)
        if (name, role, workspace) != known or now - found.told_at > STALE_SECONDS / 6:
            await self._database.tx(sessions.told, found.person, name, role, workspace, now)
        return replace(found, name=name, role=role, workspace=workspace)

    def _sign_in_first(self, request: web.Request) -> web.StreamResponse:
        where = f"{self._public.base}/sign-in"
        if HTMX in request.headers:
            return web.Response(status=401, headers={"HX-Redirect": where})
        if request.method == "GET":
            asked = request.path[len(self._public.base) :]
            where += f"?next={asked}" if asked not in ("", "/") else ""
        raise web.HTTPSeeOther(where)

    def _problem(
        self, request: web.Request, status: int, text: str, remedy: str
    ) -> web.StreamResponse:
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError(text)  # an answer was begun, and broken off
        return self._render.page(request, "problem.html", status=status, text=text, remedy=remedy)


_OTHER = ("That did not work.", "Go back and try again.")
_WORDS = {
    404: ("There is no such page.", "Perhaps what it showed was removed."),
    405: ("That page cannot be used in this way.", "Go back and use its buttons."),
    413: ("That is too large.", "Send less at once."),
}
