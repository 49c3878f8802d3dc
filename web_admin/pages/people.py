"""People: who is let in, as what; who asks; the rules that let whole groups in."""

from __future__ import annotations

from aiohttp import web

from agent_service.contract import errors
from bridge.contract import AccountView, NewAccessRule, RuleKind
from web_admin.entry.found import SESSION, field
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk
from web_admin.store import sessions

KINDS: tuple[RuleKind, ...] = ("team", "channel", "group")


class People:
    """Pages under /people. What somebody may do to whom the bridge decides."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        one = "/people/{id}"
        return [
            Page("GET", "/people", self.all, "admin"),
            Page("POST", "/people/let-in", self.let_in, "admin"),
            Page("POST", "/people/rules/add", self.add_rule, "admin"),
            Page("POST", "/people/rules/remove", self.remove_rule, "admin"),
            Page("GET", one, self.one, "admin"),
            Page("POST", one + "/role", self.role, "admin"),
            Page("POST", one + "/end", self.end, "admin"),
            Page("POST", one + "/unlink", self.unlink, "admin"),
            Page("POST", one + "/sign-out", self.sign_out, "admin"),
        ]

    async def all(self, request: web.Request) -> web.StreamResponse:
        words, after = request.query.get("q", ""), request.query.get("after", "")
        return self._desk.page(
            request,
            "people.html",
            found=await self._desk.bridge.people(words, after),
            rules=await self._desk.bridge.rules(),
            q=words,
            after=after,
        )

    async def let_in(self, request: web.Request) -> web.StreamResponse:
        said = await self._desk.bridge.let_in(field(request, "code", 40), request[SESSION].person)
        await self._desk.note(request, "person.let_in", "", said=said)
        return await self._desk.told(request, "/people", said)

    async def one(self, request: web.Request) -> web.StreamResponse:
        person = await self._desk.bridge.person(request.match_info["id"])
        open_sessions = await self._desk.database.tx(sessions.of_person, person.id)
        return self._desk.page(
            request,
            "person.html",
            person=person,
            sessions=open_sessions,
            login=await self._desk.accounts.login(person.id),
            conversations=(await self._desk.bridge.conversations(owner=person.id)).conversations,
        )

    async def role(self, request: web.Request) -> web.StreamResponse:
        whom, role = request.match_info["id"], field(request, "role", 20)
        said = await self._desk.bridge.set_role(whom, role, request[SESSION].person)
        await self._desk.note(request, "role.set", whom, role=role)
        return await self._desk.told(request, f"/people/{whom}", said)

    async def end(self, request: web.Request) -> web.StreamResponse:
        whom, how = request.match_info["id"], field(request, "how", 20)
        by = request[SESSION].person
        said = await self._desk.bridge.end_person(whom, how, by)
        await self._desk.database.tx(sessions.end_all, whom, by)
        if how == "removed":
            await self._desk.accounts.forget(whom, by=by)
        await self._desk.note(request, "person.ended", whom, how=how)
        return await self._desk.told(request, f"/people/{whom}", said)

    async def unlink(self, request: web.Request) -> web.StreamResponse:
        whom = request.match_info["id"]
        account = AccountView(*(field(request, name) for name in ("platform", "tenant", "user")))
        said = await self._desk.bridge.unlink(whom, account, request[SESSION].person)
        await self._desk.note(request, "account.unlinked", whom, platform=account.platform)
        return await self._desk.told(request, f"/people/{whom}", said)

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        whom, mine = request.match_info["id"], request[SESSION]
        person = await self._desk.bridge.person(whom)
        if person.role in ("operator", "admin") and mine.role != "operator" and whom != mine.person:
            raise errors.Forbidden("Only an operator can do that to an operator or admin.")
        count = await self._desk.database.tx(sessions.end_all, whom, mine.person, but=mine.id)
        return await self._desk.told(request, f"/people/{whom}", f"{count} sessions are ended.")

    # ---- rules ----

    async def add_rule(self, request: web.Request) -> web.StreamResponse:
        kind = next((one for one in KINDS if one == field(request, "kind")), None)
        if kind is None:
            raise errors.BadRequest("A rule is about a team, a channel or a group.")
        platform, tenant = field(request, "platform", 100), field(request, "tenant", 200)
        value = "" if kind == "team" else field(request, "value", 200)
        by = request[SESSION].person
        said = await self._desk.bridge.add_rule(NewAccessRule(platform, tenant, kind, value, by))
        detail = {"platform": platform, "tenant": tenant, "value": value}
        await self._desk.note(request, "access.added", kind, **detail)
        return await self._desk.told(request, "/people", said)

    async def remove_rule(self, request: web.Request) -> web.StreamResponse:
        number = field(request, "number", 20)
        said = await self._desk.bridge.remove_rule(number, request[SESSION].person)
        await self._desk.note(request, "access.removed", number)
        return await self._desk.told(request, "/people", said)
