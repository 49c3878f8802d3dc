"""Decisions that wait: seen by admins, answered by those whose answer counts, as in the chat."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from agent_service.contract import AuditEntry, errors
from bridge.contract import GiveDecision, WaitingDecision
from web_admin.entry.found import FORM, SESSION, field
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk
from web_admin.store.sessions import Session

HISTORY = 30
_SCOPES: dict[str, Literal["once", "conversation", "workspace"]] = {
    "allow": "once",
    "conversation": "conversation",
    "workspace": "workspace",
}


class Decisions:
    """/decisions, and the answers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/decisions", self.all, "member"),
            Page("POST", "/decisions/{id}", self.give, "member"),
        ]

    async def all(self, request: web.Request) -> web.StreamResponse:
        """Admins see all, members those that wait for them or are in what is theirs."""
        mine = request[SESSION]
        waiting = [one for one in await self._desk.bridge.waiting() if _may_see(one, mine)]
        history = await self._history() if mine.is_admin else []
        return self._desk.page(
            request,
            "decisions.html",
            waiting=waiting,
            history=history,
            names=await self._desk.names(),
        )

    async def _history(self) -> list[AuditEntry]:
        try:
            entries = await self._desk.agent.audit(before=2**53)
        except errors.ServiceError:
            return []
        return [one for one in entries if one.kind == "decision.resolved"][:HISTORY]

    async def give(self, request: web.Request) -> web.StreamResponse:
        """The bridge decides whether this person's answer counts, and notes one that does not."""
        wanted, verb = request.match_info["id"], field(request, "verb", 20)
        by, reason = request[SESSION].person, field(request, "reason", 2000)
        given: GiveDecision
        if verb in _SCOPES:
            given = GiveDecision(by, "allow", reason, _SCOPES[verb])
        elif verb == "edits":
            given = GiveDecision(by, "allow", reason, mode="acceptEdits")
        elif verb == "deny":
            given = GiveDecision(by, "deny", reason)
        elif verb == "answer":
            given = GiveDecision(by, "answer", answers=await self._answers(request, wanted))
        else:
            raise errors.BadRequest("That is no answer.", remedy="Use one of the buttons.")
        said = await self._desk.bridge.decide(wanted, given)
        await self._desk.note(request, "decision.answered", wanted, verb=verb, said=said)
        return await self._desk.told(request, "/decisions", said or "Your answer counts.")

    async def _answers(
        self, request: web.Request, wanted: str
    ) -> tuple[tuple[str, tuple[str, ...]], ...]:
        asked = next((one for one in await self._desk.bridge.waiting() if one.id == wanted), None)
        questions = asked.shown.get("questions", []) if asked is not None else []
        found = []
        for number, question in enumerate(questions):
            texts = [str(text)[:2000] for text in request[FORM].getall(f"q{number}", [])]
            other = field(request, f"q{number}.other", 2000)
            chosen = tuple(text for text in (*texts, other) if text.strip())
            if chosen:
                found.append((str(question["question"]), chosen))
        if not found:
            raise errors.BadRequest("Nothing was chosen or written.", remedy="Go back and choose.")
        return tuple(found)


def _may_see(one: WaitingDecision, who: Session) -> bool:
    mine = who.person in one.deciders or who.person == one.conversation.owner
    return mine or who.is_admin
