"""Handlers of conversations: how one stands, warming and closing its session."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web
from pydantic import TypeAdapter

from agent_service.contract.turns import STRICT, ConversationView
from agent_service.http.guard import checked_id, identifier, parsed, reply
from agent_service.http.routes import ADMIN, BRIDGE, Route
from agent_service.turns.runner import TurnRunner

_VIEW = TypeAdapter(ConversationView)


@dataclass(frozen=True, slots=True)
class Warm:
    """What `POST …/warm` takes: the workspace, in case the conversation is new; of whom a message
    is likely, and whether the conversation is theirs alone, as in `TurnRequest`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    workspace: str
    person: str = ""
    own: bool = False


_WARM = TypeAdapter(Warm)


class ConversationHandlers:
    """Routes under /v1/conversations."""

    def __init__(self, runner: TurnRunner) -> None:
        self._runner = runner

    def routes(self) -> list[Route]:
        one, bridge = "/v1/conversations/{conversation}", frozenset({BRIDGE})
        both = frozenset({BRIDGE, ADMIN})
        return [
            Route("GET", one, self.view, "A conversation as it stands.", both,
                  answer=ConversationView),
            Route("POST", one + "/warm", self.warm, "Have a session ready for a message to come.",
                  bridge, body=Warm, answer=ConversationView),
            Route("POST", one + "/close", self.close,
                  "Close the idle session and deny what waits; history stays.",
                  both, answer=ConversationView),
        ]  # fmt: skip

    async def view(self, request: web.Request) -> web.StreamResponse:
        conversation = identifier(request, "conversation")
        return reply(await self._runner.conversation(conversation), _VIEW)

    async def warm(self, request: web.Request) -> web.StreamResponse:
        conversation = identifier(request, "conversation")
        asked = parsed(request, _WARM)
        workspace = checked_id(asked.workspace, "workspace")
        person = checked_id(asked.person, "person") if asked.person else ""
        await asyncio.shield(self._runner.warm(conversation, workspace, person, own=asked.own))
        return reply(await self._runner.conversation(conversation), _VIEW)

    async def close(self, request: web.Request) -> web.StreamResponse:
        conversation = identifier(request, "conversation")
        await asyncio.shield(self._runner.close(conversation))
        return reply(await self._runner.conversation(conversation), _VIEW)
