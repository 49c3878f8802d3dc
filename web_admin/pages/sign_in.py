"""Signing in: by claiming the deployment, by password, by a link from the bot; and out."""

from __future__ import annotations

import re

import structlog
from aiohttp import web

from agent_service.contract import errors
from bridge.contract import links
from web_admin.entry.found import ARRIVAL, SESSION, field
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk
from web_admin.store import failures, sessions
from web_admin.store import links as used
from web_admin.store.accounts import PasswordRefused, login_of
from web_admin.store.sessions import How

log = structlog.get_logger()

WRONG = "That name and password do not belong together."
USED = "This link was used before: each works once. Write `web` to the bot for another one."
_NEXT = re.compile(r"(/[a-z0-9_-]+)+", re.IGNORECASE)


class SignIn:
    """Pages for who is not signed in yet, and the way out."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/sign-in", self.form, "anyone"),
            Page("POST", "/sign-in", self.by_password, "anyone"),
            Page("GET", f"/{links.PATH}", self.link_page, "anyone"),
            Page("POST", f"/{links.PATH}", self.by_link, "anyone"),
            Page("GET", "/claim", self.claim_form, "anyone"),
            Page("POST", "/claim", self.claim, "anyone"),
            Page("POST", "/sign-out", self.out, "member"),
        ]

    # ---- by password ----

    async def form(self, request: web.Request) -> web.StreamResponse:
        if request.get(SESSION) is not None:
            return self._desk.to("/me")
        if await self._claim_needed():
            return self._desk.to("/claim")
        return await self._form(request, request.query.get("next", ""))

    async def _form(
        self, request: web.Request, then: str, problem: str = "", login: str = ""
    ) -> web.Response:
        return self._desk.page(
            request,
            "sign_in.html",
            status=403 if problem else 200,
            problem=problem,
            login=login,
            then=_next(then),
            passwords=await self._desk.accounts.any(),
        )

    async def by_password(self, request: web.Request) -> web.StreamResponse:
        login, password = field(request, "login", 200), field(request, "password", 2000)
        then, address = field(request, "next", 200), request[ARRIVAL].client
        now, database = self._desk.clock(), self._desk.database
        owner = await self._desk.accounts.person(login)
        known = bool(owner) and await database.tx(sessions.known_address, owner, address)
        name = login_of(login)
        if await database.tx(failures.too_many, address, name, now, known=known):
            return await self._form(request, then, failures.WAIT, login)
        person = await self._desk.accounts.check(login, password)
        if person is None:
            await database.tx(failures.note, address, name, now)
            log.warning("sign-in refused", address=address)
            return await self._form(request, then, WRONG, login)
        return await self._signed_in(request, person, "password", _next(then))

    # ---- by a link from the bot ----

    async def link_page(self, request: web.Request) -> web.StreamResponse:
        """It changes nothing: the token is in the fragment, which is not sent, and whoever unfurls
        the link presses no button."""
        return self._desk.page(request, "link.html", problem="")

    async def by_link(self, request: web.Request) -> web.StreamResponse:
        now = self._desk.clock()
        token = field(request, "token", 2000).rpartition("#")[2]
        try:
            link = links.read(self._desk.link_keys, token, now=now)
        except links.LinkRefused as error:
            return self._desk.page(request, "link.html", status=403, problem=str(error))
        if not await self._desk.database.tx(used.use, link.nonce, link.until, now):
            return self._desk.page(request, "link.html", status=403, problem=USED)
        then = "/me/claude" if link.page == "claude" else ""
        return await self._signed_in(request, link.person, "link", then)

    # ---- the claim ----

    async def claim_form(self, request: web.Request) -> web.StreamResponse:
        if not await self._claim_needed():
            return self._desk.to("/sign-in")
        return self._claim_form(request)

    def _claim_form(self, request: web.Request, problem: str = "") -> web.Response:
        given = {"name": "", "login": ""}
        if request.method == "POST":
            given = {name: field(request, name, 200) for name in given}
        status = 403 if problem else 200
        return self._desk.page(request, "claim.html", status=status, problem=problem, **given)

    async def claim(self, request: web.Request) -> web.StreamResponse:
        """The first operator, who is a person of the bridge's; the password is ours. It is looked
        at first, so that the code is not used up by a password that is too short."""
        login, password = field(request, "login", 200), field(request, "password", 2000)
        try:
            if password != field(request, "again", 2000):
                raise PasswordRefused("The two passwords are not the same.")
            made = await self._desk.accounts.made(login, password)
        except PasswordRefused as error:
            return self._claim_form(request, str(error))
        try:
            person = await self._desk.bridge.claim(
                field(request, "code", 100), field(request, "name", 80), request[ARRIVAL].client
            )
        except (errors.Forbidden, errors.BadRequest) as error:
            return self._claim_form(request, error.message)
        then = "/welcome"
        try:
            await self._desk.accounts.store(person.id, made, by=person.id)
        except PasswordRefused:
            # Somebody of an earlier time has the name. The claim holds; they choose another one.
            then = "/me"
        return await self._signed_in(request, person.id, "claim", then)

    async def _claim_needed(self) -> bool:
        try:
            return await self._desk.bridge.claim_needed()
        except errors.ServiceError:
            return False

    # ---- in and out ----

    async def _signed_in(
        self, request: web.Request, person_id: str, how: How, then: str
    ) -> web.StreamResponse:
        """Raises `ServiceError` where the bridge does not know them, or cannot be asked."""
        here, desk = request[ARRIVAL], self._desk
        person = await desk.bridge.person(person_id)
        if person.role in ("blocked", "removed"):
            raise errors.Forbidden(
                "You are not let in here any more.", remedy="Ask an admin of this Bascule."
            )
        if (before := request.get(SESSION)) is not None:
            await desk.database.tx(sessions.end, before.id, None, person.id)
        seconds = desk.settings.admin_session_hours * 3600
        token = await desk.database.tx(
            sessions.begin,
            person=person.id,
            name=person.name,
            role=person.role,
            workspace=person.workspace,
            how=how,
            address=here.client,
            browser=request.headers.get("User-Agent", ""),
            now=desk.clock(),
            seconds=seconds,
        )
        log.info("signed in", person=person.id, how=how)
        answer = desk.to(then or ("/" if person.role in ("operator", "admin") else "/me"))
        desk.cookies.set(answer, "session", token, secure=here.secure, seconds=seconds)
        desk.cookies.clear(answer, "visit", secure=here.secure)
        return answer

    async def out(self, request: web.Request) -> web.StreamResponse:
        session = request[SESSION]
        await self._desk.database.tx(sessions.end, session.id, session.person, session.person)
        answer = self._desk.to("/sign-in")
        self._desk.cookies.clear(answer, "session", secure=request[ARRIVAL].secure)
        return answer


def _next(text: str) -> str:
    """A page of ours to go on to; empty for anything else."""
    return text if _NEXT.fullmatch(text) else ""
