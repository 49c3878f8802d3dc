"""Handlers of people, access rules and the claim. What `by` may do is looked up here again."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import sqlalchemy as sa
from aiohttp import web
from pydantic import TypeAdapter

from adapters.contract import Address, CommandIn, Identity, Sender
from agent_service.contract.errors import BadRequest, Conflict, Forbidden, NotFound
from bridge.contract import (
    NAME_LIMIT,
    AccessRuleView,
    AccountView,
    By,
    ClaimView,
    EndPerson,
    LetIn,
    LinkState,
    NewAccessRule,
    NewClaim,
    PeoplePage,
    PersonView,
    RemoveAccount,
    Said,
    SetRole,
)
from bridge.http_api.guard import identifier, parsed, reply
from bridge.http_api.routes import Route
from bridge.people import access, claim, codes, linking, listing, roles, rules
from bridge.people.access import Person
from bridge.store.database import Database

if TYPE_CHECKING:
    from bridge.host import BridgeHost

_PAGE = TypeAdapter(PeoplePage)
_PERSON = TypeAdapter(PersonView)
_SAID = TypeAdapter(Said)
_LET_IN = TypeAdapter(LetIn)
_ROLE = TypeAdapter(SetRole)
_END = TypeAdapter(EndPerson)
_CLAIM = TypeAdapter(ClaimView)
_NEW_CLAIM = TypeAdapter(NewClaim)
_RULES = TypeAdapter(tuple[AccessRuleView, ...])
_NEW_RULE = TypeAdapter(NewAccessRule)
_BY = TypeAdapter(By)
_LINK = TypeAdapter(LinkState)
_REMOVE = TypeAdapter(RemoveAccount)
WEB = "web"
"""The platform of an account that was made on the pages, by a claim."""


def acting(con: sa.Connection, person_id: str) -> Person:
    """Who does it, let in as they are now. Raises `Forbidden`."""
    who = access.by_id(con, person_id)
    if who is None or who.role in access.OUT:
        raise Forbidden("You are not let in here any more.")
    return who


def admin(con: sa.Connection, person_id: str) -> Person:
    """The same, who is an admin or operator. Raises `Forbidden`."""
    who = acting(con, person_id)
    if not who.is_admin:
        raise Forbidden("Only admins and operators can do that.")
    return who


class PeopleHandlers:
    """Routes under /v1/people, /v1/access and /v1/claim."""

    def __init__(self, db: Database, host: BridgeHost) -> None:
        self._db = db
        self._host = host

    def routes(self) -> list[Route]:
        one = "/v1/people/{person}"
        return [
            Route("GET", "/v1/people", self.page),
            Route("POST", "/v1/people", self.let_in, LetIn),
            Route("GET", one, self.view),
            Route("PUT", one + "/role", self.role, SetRole),
            Route("POST", one + "/end", self.end, EndPerson),
            Route("GET", one + "/link", self.link_state),
            Route("POST", one + "/link", self.link_begin),
            Route("POST", one + "/link/confirm", self.link_confirm),
            Route("POST", one + "/accounts/remove", self.unlink, RemoveAccount),
            Route("GET", "/v1/access", self.rules),
            Route("POST", "/v1/access", self.add_rule, NewAccessRule),
            Route("POST", "/v1/access/{number}/remove", self.remove_rule, By),
            Route("GET", "/v1/claim", self.claim_view),
            Route("POST", "/v1/claim", self.claim, NewClaim),
        ]

    # ---- people ----

    async def page(self, request: web.Request) -> web.StreamResponse:
        words, after = request.query.get("q", "")[:200], request.query.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 10):
            raise BadRequest("after: not a whole number from 0.", field="after")
        found = await self._db.tx(listing.page, self._db, words, int(after), durable=False)
        return reply(found, _PAGE)

    async def view(self, request: web.Request) -> web.StreamResponse:
        return reply(await self._person(identifier(request, "person")), _PERSON)

    async def _person(self, person_id: str) -> PersonView:
        found = await self._db.tx(listing.one, person_id, durable=False)
        if found is None:
            raise NotFound("There is no such person here.")
        return found

    async def let_in(self, request: web.Request) -> web.StreamResponse:
        body = parsed(request, _LET_IN)
        return await self._people(body.by, f"let {codes.plain(body.code)}")

    async def role(self, request: web.Request) -> web.StreamResponse:
        whom, body = identifier(request, "person"), parsed(request, _ROLE)
        await self._db.tx(_why_not, body.by, whom, body.role, durable=False)
        return await self._people(body.by, f"role {whom} {body.role}")

    async def end(self, request: web.Request) -> web.StreamResponse:
        whom, body = identifier(request, "person"), parsed(request, _END)
        if whom == body.by:
            raise Conflict("Not yourself: another admin can do that.")
        await self._db.tx(_why_not, body.by, whom, body.how, durable=False)
        verb = "block" if body.how == "blocked" else "remove"
        return await self._people(body.by, f"{verb} {whom}")

    async def _people(self, by: str, rest: str) -> web.StreamResponse:
        account = await self._db.tx(_account_of_admin, by, durable=False)
        return await self._command(account, "people", rest)

    async def _command(self, account: Identity, name: str, rest: str) -> web.StreamResponse:
        """What the command in the chat does, given by this account."""
        once = secrets.token_hex(16)
        place = Address(account.platform, account.tenant, f"admin-{once}", direct=True)
        command = CommandIn((f"admin.{once}",), place, Sender(account, ""), name, rest)
        receipt = await self._host.submit(command)
        return reply(Said(receipt.reply.markdown if receipt.reply else ""), _SAID)

    # ---- second accounts ----

    async def link_state(self, request: web.Request) -> web.StreamResponse:
        def fn(con: sa.Connection, person_id: str) -> LinkState:
            found = linking.agreed(con, self._db, acting(con, person_id))
            if found is None:
                return LinkState()
            account, name = found
            view = AccountView(account.platform, account.tenant, account.user)
            return LinkState(agreed=view, name=name)

        person = identifier(request, "person")
        return reply(await self._db.tx(fn, person, durable=False), _LINK)

    async def link_begin(self, request: web.Request) -> web.StreamResponse:
        def fn(con: sa.Connection, person_id: str) -> LinkState:
            return LinkState(code=linking.begin(con, self._db, acting(con, person_id)))

        return reply(await self._db.tx(fn, identifier(request, "person")), _LINK)

    async def link_confirm(self, request: web.Request) -> web.StreamResponse:
        def fn(con: sa.Connection, person_id: str) -> Identity:
            who = acting(con, person_id)
            if linking.agreed(con, self._db, who) is None:
                raise Conflict("No other account has used your code yet; codes last 10 minutes.")
            return access.accounts(con, who.id)[0]

        person = identifier(request, "person")
        account = await self._db.tx(fn, person, durable=False)
        return await self._command(account, "link", "confirm yes")

    async def unlink(self, request: web.Request) -> web.StreamResponse:
        """As its person does in the chat, with another account of theirs."""
        person, body = identifier(request, "person"), parsed(request, _REMOVE)
        gone = Identity(body.account.platform, body.account.tenant, body.account.user)

        def fn(con: sa.Connection) -> Identity:
            by, whom = acting(con, body.by), access.by_id(con, person)
            if whom is None:
                raise NotFound("There is no such person here.")
            if by.id != whom.id and (refused := roles.why_not(con, by, whom, "member")):
                raise Forbidden(refused)
            mine = access.accounts(con, whom.id)
            others = [account for account in mine if account != gone]
            if gone not in mine or not others:
                raise Conflict("That is not their account, or it is the only one they have.")
            return others[0]

        other = await self._db.tx(fn, durable=False)
        words = " ".join(filter(None, ("remove", gone.platform, gone.user, gone.tenant)))
        return await self._command(other, "link", words)

    # ---- rules ----

    async def rules(self, _request: web.Request) -> web.StreamResponse:
        found = await self._db.tx(rules.all_of, durable=False)
        views = tuple(AccessRuleView(r.number, r.platform, r.tenant, r.kind, r.value)  # type: ignore[arg-type]
                      for r in found)  # fmt: skip
        return reply(views, _RULES)

    async def add_rule(self, request: web.Request) -> web.StreamResponse:
        body = parsed(request, _NEW_RULE)
        words = (body.platform, body.tenant, body.value)
        if not body.platform or not all(w.isprintable() and len(w) <= 200 for w in words):
            raise BadRequest("A rule needs a platform and ids that can be read.")
        if (body.kind == "team") == bool(body.value):
            raise BadRequest("value: a channel or group has an id, a team needs none.")

        def fn(con: sa.Connection) -> bool:
            by = admin(con, body.by)
            new = (body.platform, body.tenant, body.kind, body.value)
            return rules.add(con, self._db, *new, by.id)

        if not await self._db.tx(fn):
            raise Conflict(f"There are {rules.MOST} rules already; take one back first.")
        return reply(Said("They are let in as members from now on, as long as that is so."), _SAID)

    async def remove_rule(self, request: web.Request) -> web.StreamResponse:
        number, body = request.match_info["number"], parsed(request, _BY)
        if not (number.isascii() and number.isdigit()):
            raise BadRequest("number: not a number.", field="number")

        def fn(con: sa.Connection) -> rules.Rule | None:
            admin(con, body.by)
            return rules.remove(con, int(number[:9]))

        if await self._db.tx(fn) is None:
            raise NotFound("There is no such rule.")
        return reply(Said("Taken back. Whom it alone let in is out at once."), _SAID)

    # ---- the claim ----

    async def claim_view(self, _request: web.Request) -> web.StreamResponse:
        return reply(ClaimView(await self._db.tx(claim.needed, durable=False)), _CLAIM)

    async def claim(self, request: web.Request) -> web.StreamResponse:
        """Who has the code becomes the first operator, with an account of the platform `web`: they
        link those of their chat platforms to it."""
        body = parsed(request, _NEW_CLAIM)
        name = " ".join(body.name.split())[:NAME_LIMIT]
        if not name or not name.isprintable():
            raise BadRequest("name: what shall people call you?", field="name")

        def fn(con: sa.Connection) -> tuple[str, PersonView | None]:
            # Each try has an account of its own, so tries are counted by where they come from.
            source = Identity(WEB, "address", body.address[:100])
            if codes.too_many(con, self._db, source, "claim"):
                return codes.TOO_MANY, None
            account = Identity(WEB, "", access.mint("u"))
            told = claim.take(con, self._db, Sender(account, name), body.code)
            made = access.find(con, account)
            if made is None:
                if told == claim.WRONG:
                    codes.note_wrong(con, self._db, source, "claim")
                return told, None
            return told, listing.one(con, made.id)

        told, made = await self._db.tx(fn)
        if made is None:
            raise Forbidden(told)
        return reply(made, _PERSON)


def _why_not(con: sa.Connection, by: str, whom_id: str, role: access.Role) -> None:
    who, whom = admin(con, by), access.by_id(con, whom_id)
    if whom is None or whom.role == "removed":
        raise NotFound("There is no such person here.")
    if refused := roles.why_not(con, who, whom, role):
        raise Forbidden(refused)


def _account_of_admin(con: sa.Connection, by: str) -> Identity:
    mine = access.accounts(con, admin(con, by).id)
    if not mine:
        raise Forbidden("You have no account any more by which that could be done.")
    return mine[0]
