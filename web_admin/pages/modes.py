"""Permission modes and rules of the deployment: what the agent may do unasked, anywhere."""

from __future__ import annotations

from aiohttp import web

from agent_service.contract import MODE_WORDS, MODES, Behavior, Ceiling, errors
from web_admin.entry.found import SESSION, field
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk

BEHAVIORS: tuple[Behavior, ...] = ("deny", "ask", "allow", "two_people")
BEHAVIOR_WORDS = {
    "deny": "Never, in any mode",
    "ask": "Always ask",
    "allow": "Allow unasked",
    "two_people": "Two different people have to allow it",
}
CEILINGS: tuple[Ceiling, ...] = ("default", "acceptEdits", "bypassPermissions")


def behavior_of(text: str) -> Behavior:
    """Raises `BadRequest`."""
    for one in BEHAVIORS:
        if one == text:
            return one
    raise errors.BadRequest("A rule denies, asks, allows, or needs two people.")


class Modes:
    """Pages under /modes: admins see them, operators change them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/modes", self.all, "admin"),
            Page("POST", "/modes/mode", self.mode, "operator"),
            Page("POST", "/modes/ceiling", self.ceiling, "operator"),
            Page("POST", "/modes/rules/add", self.add, "operator"),
            Page("POST", "/modes/rules/remove", self.remove, "operator"),
        ]

    async def all(self, request: web.Request) -> web.StreamResponse:
        return self._desk.page(
            request,
            "modes.html",
            policy=await self._desk.agent.policy(),
            modes=[(mode, MODE_WORDS[mode]) for mode in MODES],
            ceilings=CEILINGS,
            behaviors=BEHAVIOR_WORDS,
            names=await self._desk.names(),
        )

    async def mode(self, request: web.Request) -> web.StreamResponse:
        wanted = field(request, "mode", 40) or None
        await self._desk.agent.set_mode((), wanted, request[SESSION].person)
        await self._desk.note(request, "mode.set", "deployment", mode=wanted)
        return await self._desk.told(request, "/modes", f"The mode is {wanted or 'the usual'} now.")

    async def ceiling(self, request: web.Request) -> web.StreamResponse:
        asked = field(request, "ceiling", 40)
        wanted = next((one for one in CEILINGS if one == asked), None)
        await self._desk.agent.set_ceiling(wanted, request[SESSION].person)
        await self._desk.note(request, "ceiling.set", "deployment", ceiling=wanted)
        said = f"Nobody can choose more than {wanted}." if wanted else "The ceiling is as usual."
        return await self._desk.told(request, "/modes", said)

    async def add(self, request: web.Request) -> web.StreamResponse:
        return await self._change(request, "PUT", "rule.added", "The rule holds from now on.")

    async def remove(self, request: web.Request) -> web.StreamResponse:
        return await self._change(request, "DELETE", "rule.removed", "The rule is taken back.")

    async def _change(
        self, request: web.Request, method: str, kind: str, said: str
    ) -> web.StreamResponse:
        behavior, pattern = behavior_of(field(request, "behavior")), field(request, "pattern")
        by = request[SESSION].person
        await self._desk.agent.change_rule(method, (), behavior, pattern, by)
        await self._desk.note(request, kind, "deployment", behavior=behavior, pattern=pattern)
        return await self._desk.told(request, "/modes", said)
