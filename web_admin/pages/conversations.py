"""Conversations: what goes on in them, stopping and closing them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from agent_service.contract import errors, events
from bridge.contract import ConversationDetail
from web_admin.entry.found import SESSION
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk

STATES = ("", "working", "waiting", "idle")
TURNS_SHOWN = 5
"""Turns whose answers are fetched, the newest."""


class Conversations:
    """Pages under /conversations. Members see their own."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        one = "/conversations/{id}"
        return [
            Page("GET", "/conversations", self.all, "admin"),
            Page("GET", one, self.one, "member"),
            Page("GET", one + "/now", self.now, "member"),
            Page("POST", one + "/stop", self.stop, "member"),
            Page("POST", one + "/close", self.close, "member"),
        ]

    async def all(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        words, after, state = query.get("q", ""), query.get("after", ""), query.get("state", "")
        state = state if state in STATES else ""
        return self._desk.page(
            request,
            "conversations.html",
            found=await self._desk.bridge.conversations(words, state=state, after=after),
            q=words,
            state=state,
            states=STATES,
        )

    async def one(self, request: web.Request) -> web.StreamResponse:
        found = await self._theirs(request)
        if found.conversation.owner != request[SESSION].person:
            await self._desk.note(request, "conversation.read", found.conversation.id)
        return await self._shown(request, "conversation.html", found)

    async def now(self, request: web.Request) -> web.StreamResponse:
        return await self._shown(request, "conversation_now.html", await self._theirs(request))

    async def _shown(
        self, request: web.Request, template: str, found: ConversationDetail
    ) -> web.StreamResponse:
        turns = [message.turn for message in found.messages[-TURNS_SHOWN:]]
        answers = {turn: await self._answer(turn) for turn in turns}
        return self._desk.page(request, template, found=found, answers=answers)

    async def _answer(self, turn: str) -> list[tuple[str, str]]:
        """What the agent said and did in a turn, as (kind, text)."""
        try:
            told = await self._desk.agent.events_so_far(turn)
        except errors.ServiceError as error:
            return [("trouble", error.message)]
        return [line for event in told if (line := _line(event)) is not None]

    async def _theirs(self, request: web.Request) -> ConversationDetail:
        """Raises `NotFound` for one of somebody else's, as for one that is not there."""
        found = await self._desk.bridge.conversation(request.match_info["id"])
        mine = request[SESSION]
        if not mine.is_admin and found.conversation.owner != mine.person:
            raise errors.NotFound("There is no such conversation.")
        return found

    async def stop(self, request: web.Request) -> web.StreamResponse:
        found = await self._theirs(request)
        said = await self._desk.bridge.stop(found.conversation.id, request[SESSION].person)
        await self._desk.note(request, "conversation.stopped", found.conversation.id)
        return await self._desk.told(request, f"/conversations/{found.conversation.id}", said)

    async def close(self, request: web.Request) -> web.StreamResponse:
        found = await self._theirs(request)
        where = f"/conversations/{found.conversation.id}"
        try:
            await self._desk.agent.close_conversation(found.conversation.agent_conversation)
        except errors.NotFound:
            return await self._desk.told(request, where, "It has no session.")
        await self._desk.note(request, "conversation.closed", found.conversation.id)
        said = "Its session is closed. What was said is kept; the next message resumes it."
        return await self._desk.told(request, where, said)


def _line(event: Any) -> tuple[str, str] | None:
    if isinstance(event, events.Text):
        return "text", event.text
    if isinstance(event, events.ToolStarted):
        return "tool", event.title or event.tool
    if isinstance(event, events.ToolFinished) and not event.ok:
        return "trouble", event.summary
    if isinstance(event, events.TurnFinished) and event.outcome != "completed":
        return "trouble", f"{event.message or event.outcome} {event.remedy}".strip()
    return None
