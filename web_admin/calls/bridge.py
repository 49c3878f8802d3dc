"""What the pages ask of the bridge. Each raises `agent_service.contract.errors`."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import TypeAdapter

from bridge.contract import (
    AccessRuleView,
    AccountView,
    AdapterView,
    BridgeStatus,
    CheckView,
    ClaimView,
    ConversationDetail,
    ConversationsPage,
    GiveDecision,
    LinkState,
    NewAccessRule,
    PeoplePage,
    PersonView,
    Said,
    WaitingDecision,
)
from web_admin.calls.signed import Caller, path

_STATUS = TypeAdapter(BridgeStatus)
_PEOPLE = TypeAdapter(PeoplePage)
_PERSON = TypeAdapter(PersonView)
_SAID = TypeAdapter(Said)
_RULES = TypeAdapter(tuple[AccessRuleView, ...])
_CLAIM = TypeAdapter(ClaimView)
_LINK = TypeAdapter(LinkState)
_CONVERSATIONS = TypeAdapter(ConversationsPage)
_DETAIL = TypeAdapter(ConversationDetail)
_WAITING = TypeAdapter(tuple[WaitingDecision, ...])
_ADAPTERS = TypeAdapter(tuple[AdapterView, ...])
_CHECKS = TypeAdapter(tuple[CheckView, ...])


class Bridge:
    """Calls in the admin's name; `by` is the person, whose rights the bridge looks up again."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def status(self) -> BridgeStatus:
        return _STATUS.validate_python(await self._caller.call("GET", path("status"), seconds=10))

    # ---- people ----

    async def people(self, words: str = "", after: str = "") -> PeoplePage:
        where = path("people", q=words, after=after)
        return _PEOPLE.validate_python(await self._caller.call("GET", where))

    async def person(self, person: str) -> PersonView:
        where = path("people", person)
        return _PERSON.validate_python(await self._caller.call("GET", where, seconds=5))

    async def let_in(self, code: str, by: str) -> str:
        return await self._say("POST", path("people"), {"code": code, "by": by})

    async def set_role(self, person: str, role: str, by: str) -> str:
        return await self._say("PUT", path("people", person, "role"), {"role": role, "by": by})

    async def end_person(self, person: str, how: str, by: str) -> str:
        return await self._say("POST", path("people", person, "end"), {"how": how, "by": by})

    async def link_state(self, person: str) -> LinkState:
        where = path("people", person, "link")
        return _LINK.validate_python(await self._caller.call("GET", where))

    async def link_begin(self, person: str) -> LinkState:
        where = path("people", person, "link")
        return _LINK.validate_python(await self._caller.call("POST", where, {}))

    async def link_confirm(self, person: str) -> str:
        return await self._say("POST", path("people", person, "link", "confirm"), {})

    async def unlink(self, person: str, account: AccountView, by: str) -> str:
        body = {"account": asdict(account), "by": by}
        return await self._say("POST", path("people", person, "accounts", "remove"), body)

    async def rules(self) -> tuple[AccessRuleView, ...]:
        return _RULES.validate_python(await self._caller.call("GET", path("access")))

    async def add_rule(self, rule: NewAccessRule) -> str:
        return await self._say("POST", path("access"), asdict(rule))

    async def remove_rule(self, number: str, by: str) -> str:
        return await self._say("POST", path("access", number, "remove"), {"by": by})

    async def claim_needed(self) -> bool:
        where = path("claim")
        return _CLAIM.validate_python(await self._caller.call("GET", where, seconds=5)).needed

    async def claim(self, code: str, name: str, address: str) -> PersonView:
        body = {"code": code, "name": name, "address": address}
        return _PERSON.validate_python(await self._caller.call("POST", path("claim"), body))

    # ---- conversations ----

    async def conversations(
        self, words: str = "", owner: str = "", state: str = "", after: str = ""
    ) -> ConversationsPage:
        where = path("conversations", q=words, owner=owner, state=state, after=after)
        return _CONVERSATIONS.validate_python(await self._caller.call("GET", where))

    async def conversation(self, conversation: str) -> ConversationDetail:
        where = path("conversations", conversation)
        return _DETAIL.validate_python(await self._caller.call("GET", where))

    async def stop(self, conversation: str, by: str) -> str:
        return await self._say("POST", path("conversations", conversation, "stop"), {"by": by})

    async def waiting(self) -> tuple[WaitingDecision, ...]:
        return _WAITING.validate_python(await self._caller.call("GET", path("decisions")))

    async def decide(self, decision: str, given: GiveDecision) -> str:
        return await self._say("POST", path("decisions", decision), asdict(given))

    # ---- adapters ----

    async def adapters(self) -> tuple[AdapterView, ...]:
        return _ADAPTERS.validate_python(await self._caller.call("GET", path("adapters")))

    async def check(self, adapter: str) -> tuple[CheckView, ...]:
        where = path("adapters", adapter, "check")
        return _CHECKS.validate_python(await self._caller.call("POST", where, {}))

    async def _say(self, method: str, where: str, body: object) -> str:
        return _SAID.validate_python(await self._caller.call(method, where, body)).text
