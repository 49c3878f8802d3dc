"""Handlers of the policy: modes, rules, the ceiling, and who may decide."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web
from pydantic import TypeAdapter

from agent_service.contract.errors import Forbidden, NotFound
from agent_service.contract.policy import (
    ChangeRule,
    PolicyScope,
    PolicyView,
    Refusal,
    SetCeiling,
    SetDeciders,
    SetMode,
)
from agent_service.http.guard import CALL, checked_id, identifier, parsed, reply
from agent_service.http.routes import ADMIN, BRIDGE, Handler, Route
from agent_service.policy.forged import Forged
from agent_service.policy.policies import Policies
from agent_service.turns.runner import TurnRunner

_VIEW = TypeAdapter(PolicyView)
_MODE = TypeAdapter(SetMode)
_CEILING = TypeAdapter(SetCeiling)
_RULE = TypeAdapter(ChangeRule)
_DECIDERS = TypeAdapter(SetDeciders)
_REFUSAL = TypeAdapter(Refusal)
BOTH = frozenset({BRIDGE, ADMIN})


@dataclass(frozen=True, slots=True)
class _Place:
    """One of the three places where something can be set, and who may set it."""

    scope: PolicyScope
    path: str
    name: str
    callers: frozenset[str]

    def subject(self, request: web.Request) -> str:
        return identifier(request, self.name) if self.name else ""

    def check(self, caller: str, rule: ChangeRule) -> None:
        """Raises `Forbidden`. The bridge knows who is an admin; yet it makes nothing laxer for
        the whole deployment."""
        if caller not in self.callers and rule.behavior != "two_people":
            raise Forbidden(f"The {caller} may only change which calls need two people here.")


_PLACES = (
    _Place("deployment", "/v1/policy", "", frozenset({ADMIN})),
    _Place("workspace", "/v1/workspaces/{workspace}/policy", "workspace", BOTH),
    _Place("conversation", "/v1/conversations/{conversation}/policy", "conversation", BOTH),
)


class PolicyHandlers:
    """Routes that end in `policy`, `policy/mode` and `policy/rules`, and those of deciders."""

    def __init__(self, policies: Policies, runner: TurnRunner, forged: Forged) -> None:
        self._policies = policies
        self._runner = runner
        self._forged = forged

    def routes(self) -> list[Route]:
        made = []
        for place in _PLACES:
            what = f"of the {place.scope}"
            made += [
                Route("GET", place.path, self._view(place), f"Mode and rules {what}.", BOTH,
                      answer=PolicyView),
                Route("PUT", place.path + "/mode", self._mode(place), f"Set the mode {what}.",
                      place.callers, body=SetMode, answer=PolicyView),
                Route("PUT", place.path + "/rules", self._add(place), f"Add a rule {what}.",
                      BOTH, body=ChangeRule, answer=PolicyView),
                Route("DELETE", place.path + "/rules", self._remove(place),
                      f"Take back a rule {what}.", BOTH, body=ChangeRule, answer=PolicyView),
            ]  # fmt: skip
        return [
            *made,
            Route("PUT", "/v1/policy/ceiling", self.ceiling, "Set the mode above which none is.",
                  frozenset({ADMIN}), body=SetCeiling, answer=PolicyView),
            Route("PUT", "/v1/workspaces/{workspace}/deciders", self.deciders,
                  "Set the people whose answers count.", BOTH, body=SetDeciders,
                  answer=PolicyView),
            Route("POST", "/v1/turns/{turn_id}/decisions/{decision_id}/refused", self.refused,
                  "Note that somebody's answer was not taken.", BOTH, body=Refusal),
        ]  # fmt: skip

    def _view(self, place: _Place) -> Handler:
        async def view_policy(request: web.Request) -> web.StreamResponse:
            return reply(await self._policies.view(place.scope, place.subject(request)), _VIEW)

        return view_policy

    def _mode(self, place: _Place) -> Handler:
        async def set_mode(request: web.Request) -> web.StreamResponse:
            subject, body = place.subject(request), parsed(request, _MODE)
            by = checked_id(body.by, "by")
            done = self._policies.set_mode(place.scope, subject, body.mode, by)
            return reply(await asyncio.shield(done), _VIEW)

        return set_mode

    def _add(self, place: _Place) -> Handler:
        async def add_rule(request: web.Request) -> web.StreamResponse:
            subject, body = place.subject(request), parsed(request, _RULE)
            place.check(request[CALL].caller, body)
            by = checked_id(body.by, "by")
            done = self._policies.add_rule(place.scope, subject, body.behavior, body.pattern, by)
            return reply(await asyncio.shield(done), _VIEW)

        return add_rule

    def _remove(self, place: _Place) -> Handler:
        async def remove_rule(request: web.Request) -> web.StreamResponse:
            subject, body = place.subject(request), parsed(request, _RULE)
            place.check(request[CALL].caller, body)
            by = checked_id(body.by, "by")
            done = self._policies.remove_rule(place.scope, subject, body.behavior, body.pattern, by)
            return reply(await asyncio.shield(done), _VIEW)

        return remove_rule

    async def ceiling(self, request: web.Request) -> web.StreamResponse:
        body = parsed(request, _CEILING)
        by = checked_id(body.by, "by")
        return reply(await asyncio.shield(self._policies.set_ceiling(body.ceiling, by)), _VIEW)

    async def deciders(self, request: web.Request) -> web.StreamResponse:
        workspace, body = identifier(request, "workspace"), parsed(request, _DECIDERS)
        by = checked_id(body.by, "by")
        people = tuple(checked_id(person, "people") for person in body.people)
        done = self._policies.set_deciders(workspace, people, by)
        return reply(await asyncio.shield(done), _VIEW)

    async def refused(self, request: web.Request) -> web.StreamResponse:
        """The bridge refused a click before it came here. Also of a decision that is none: the
        answer says so then."""
        turn_id = identifier(request, "turn_id")
        decision_id = identifier(request, "decision_id")
        body = parsed(request, _REFUSAL)
        try:
            await self._runner.decision(turn_id, decision_id)
        except NotFound:
            await self._forged.note(decision_id, body.who[:200])
            raise
        await self._policies.refused(decision_id, body.who[:200], body.why)
        return web.json_response({})
