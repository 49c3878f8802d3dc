"""Interactions that somebody waits for, and how they are answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from tests.adapters.discord_double.body import Refused, answer, check_message
from tests.adapters.discord_double.world import JSON

if TYPE_CHECKING:
    from tests.adapters.discord_double.rest import Rest


@dataclass
class Asked:
    """An interaction that somebody waits for. `answer` is the callback's body."""

    id: str
    token: str
    user: str
    channel: str
    answered: asyncio.Future[JSON]
    message: str = ""
    shown: list[JSON] = field(default_factory=list)
    """What only this person sees."""


class Interactions:
    """`asked` has those that may still be answered, by their token."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self.asked: dict[str, Asked] = {}

    def add_to(self, app: web.Application, api: str) -> None:
        hook = api + r"/webhooks/{app:\d+}/{token}"
        add = app.router.add_route
        add("POST", api + r"/interactions/{id:\d+}/{token}/callback", self._callback)
        add("POST", hook, self._followup)
        add("GET", hook + "/messages/{message}", self._hook_message)
        add("PATCH", hook + "/messages/{message}", self._edit_followup)

    async def _callback(self, request: web.Request) -> web.Response:
        asked = self.asked.get(request.match_info["token"])
        if asked is None or asked.id != request.match_info["id"]:
            raise Refused(404, 10062, "Unknown interaction")
        given = await self._rest.body(request, asked.channel)
        if asked.answered.done():
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        if given["type"] == 4:
            check_message(given["data"])
            asked.shown.append({"id": self._rest.world.snowflake(), **given["data"]})
        asked.answered.set_result(given)
        made = {"id": asked.id, "type": 2, "response_message_id": None}
        return answer({"interaction": made})

    async def _followup(self, request: web.Request) -> web.Response:
        asked = self.asked.get(request.match_info["token"])
        if asked is None:
            raise Refused(404, 10015, "Unknown Webhook")
        given = await self._rest.body(request, asked.channel)
        check_message(given)
        if self._rest.down:
            raise Refused(self._rest.down, 0, "Service Unavailable")
        made = {**self._rest.world.post(asked.channel, self._rest.world.bot, ""), **given}
        self._rest.world.messages[asked.channel].pop()
        asked.shown.append(made)
        return answer(made)

    async def _hook_message(self, request: web.Request) -> web.Response:
        asked = self.asked[request.match_info["token"]]
        return answer(self._rest.world.post(asked.channel, self._rest.world.bot, "x"))

    async def _edit_followup(self, request: web.Request) -> web.Response:
        asked = self.asked.get(request.match_info["token"])
        if asked is None:
            raise Refused(404, 10015, "Unknown Webhook")
        given = await self._rest.body(request, asked.channel)
        check_message({"content": "x", **given})
        wanted = request.match_info["message"]
        known = next((m for m in asked.shown if m.get("id") == wanted), None)
        if known is None:
            known = {**self._rest.world.post(asked.channel, self._rest.world.bot, "")}
            self._rest.world.messages[asked.channel].pop()
            asked.shown.append(known)
        known.update(given)
        return answer(known)
