"""Everybody's own page: workspace, conversations, usage, accounts, Claude sign-in, sessions."""

from __future__ import annotations

from aiohttp import web

from agent_service.contract import SignInKind, SignInView, errors
from web_admin.entry.found import SESSION, field
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk
from web_admin.pages.usage import Sum, since, sums
from web_admin.store import sessions
from web_admin.store.accounts import PasswordRefused

KINDS: tuple[SignInKind, ...] = ("subscription", "console")


class Me:
    """Pages under /me. Nothing of anybody else."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/me", self.page, "member"),
            Page("POST", "/me/password", self.password, "member"),
            Page("POST", "/me/sessions/end", self.end_session, "member"),
            Page("POST", "/me/sessions/end-others", self.end_others, "member"),
            Page("POST", "/me/link", self.link, "member"),
            Page("POST", "/me/link/confirm", self.link_confirm, "member"),
            Page("GET", "/me/claude", self.claude, "member"),
            Page("POST", "/me/claude/begin", self.begin, "member"),
            Page("POST", "/me/claude/out", self.sign_out, "member"),
            Page("GET", "/me/claude/{id}", self.sign_in, "member"),
            Page("POST", "/me/claude/{id}/code", self.code, "member"),
            Page("POST", "/me/claude/{id}/cancel", self.cancel, "member"),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        return await self._page(request)

    async def _page(self, request: web.Request, code: str = "") -> web.StreamResponse:
        desk, mine = self._desk, request[SESSION]
        lines = await self._usage(mine.person)
        return desk.page(
            request,
            "me.html",
            person=await desk.bridge.person(mine.person),
            conversations=(await desk.bridge.conversations(owner=mine.person)).conversations,
            waiting=[one for one in await desk.bridge.waiting() if mine.person in one.deciders],
            months=lines,
            sessions=await desk.database.tx(sessions.of_person, mine.person),
            login=await desk.accounts.login(mine.person),
            link=await desk.bridge.link_state(mine.person),
            code=code,
        )

    async def _usage(self, person: str) -> list[Sum]:
        try:
            lines = await self._desk.agent.usage(since(30))
        except errors.ServiceError:
            return []
        return sums((one for one in lines if one.person == person), lambda one: one.model)

    async def password(self, request: web.Request) -> web.StreamResponse:
        """Whoever has one gives it once more; whoever came by a link needs none."""
        desk, mine = self._desk, request[SESSION]
        before = await desk.accounts.login(mine.person)
        password = field(request, "password", 2000)
        try:
            if password != field(request, "again", 2000):
                raise PasswordRefused("The two passwords are not the same.")
            if before and mine.how == "password":
                now = field(request, "now", 2000)
                if await desk.accounts.check(before, now) != mine.person:
                    raise PasswordRefused("That is not the password you have now.")
            made = await desk.accounts.made(field(request, "login", 200), password)
            await desk.accounts.store(mine.person, made, by=mine.person)
        except PasswordRefused as error:
            raise errors.BadRequest(str(error), remedy="Go back and try again.") from None
        await desk.database.tx(sessions.end_all, mine.person, mine.person, but=mine.id)
        said = "Your password is set, and your other sessions are ended."
        return await desk.told(request, "/me", said)

    async def end_session(self, request: web.Request) -> web.StreamResponse:
        mine = request[SESSION]
        wanted = field(request, "session", 100)
        await self._desk.database.tx(sessions.end, wanted, mine.person, mine.person)
        return await self._desk.told(request, "/me", "That session is ended.")

    async def end_others(self, request: web.Request) -> web.StreamResponse:
        mine = request[SESSION]
        count = await self._desk.database.tx(
            sessions.end_all, mine.person, mine.person, but=mine.id
        )
        return await self._desk.told(request, "/me", f"{count} other sessions are ended.")

    # ---- a second account ----

    async def link(self, request: web.Request) -> web.StreamResponse:
        """The code is shown once, here; asking again makes another one."""
        begun = await self._desk.bridge.link_begin(request[SESSION].person)
        return await self._page(request, begun.code)

    async def link_confirm(self, request: web.Request) -> web.StreamResponse:
        said = await self._desk.bridge.link_confirm(request[SESSION].person)
        await self._desk.note(request, "account.linked", request[SESSION].person)
        return await self._desk.told(request, "/me", said)

    # ---- an own Claude account ----

    async def claude(self, request: web.Request) -> web.StreamResponse:
        mine = [
            one
            for one in await self._desk.agent.credentials()
            if one.person == request[SESSION].person and one.state != "revoked"
        ]
        return self._desk.page(request, "my_claude.html", credentials=mine)

    async def begin(self, request: web.Request) -> web.StreamResponse:
        kind = next((one for one in KINDS if one == field(request, "kind")), None)
        if kind is None:
            raise errors.BadRequest("Choose one of the two kinds of account.")
        person = request[SESSION].person
        begun = await self._desk.agent.sign_in(person, kind, person)
        await self._desk.note(request, "claude.sign_in_begun", person, account=kind)
        return self._desk.to(f"/me/claude/{begun.id}")

    async def _mine(self, request: web.Request) -> SignInView:
        """Raises `NotFound` for somebody else's, as for one that is not there."""
        found = await self._desk.agent.sign_in_view(request.match_info["id"])
        if found.person != request[SESSION].person:
            raise errors.NotFound("There is no such sign-in.")
        return found

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        found = await self._mine(request)
        return self._desk.page(request, "my_sign_in.html", found=found)

    async def code(self, request: web.Request) -> web.StreamResponse:
        found = await self._mine(request)
        after = await self._desk.agent.sign_in_code(found.id, field(request, "code", 1000))
        await self._desk.note(request, "claude.sign_in_code", found.person, state=after.state)
        return self._desk.to(f"/me/claude/{found.id}")

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        found = await self._mine(request)
        await self._desk.agent.sign_in_cancel(found.id)
        return await self._desk.told(request, "/me/claude", "The sign-in is cancelled.")

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """Their own credential, and nobody else's."""
        wanted, mine = field(request, "credential", 100), request[SESSION]
        found = {one.id: one for one in await self._desk.agent.credentials()}
        if wanted not in found or found[wanted].person != mine.person:
            raise errors.NotFound("There is no such sign-in.")
        await self._desk.agent.revoke("credential", wanted, mine.person)
        await self._desk.note(request, "revocation.asked", wanted, scope="credential")
        said = "You are signed out of Claude here. What ran on it is stopped."
        return await self._desk.told(request, "/me/claude", said)
