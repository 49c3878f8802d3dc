"""Handlers of conversations and of the decisions that wait in them."""

from __future__ import annotations

import sqlalchemy as sa
from aiohttp import web
from pydantic import TypeAdapter

from agent_service.contract import DecisionAnswer
from agent_service.contract.errors import BadRequest, Forbidden, NotFound
from bridge.contract import (
    By,
    ConversationDetail,
    ConversationsPage,
    GiveDecision,
    Said,
    WaitingDecision,
)
from bridge.conversations import overview
from bridge.engine.deciding import Deciding
from bridge.engine.pending import stop_message
from bridge.engine.worker import Workers
from bridge.http_api.guard import identifier, parsed, reply
from bridge.http_api.people import acting
from bridge.http_api.routes import Route
from bridge.store.database import Database
from bridge.store.schema import conversation, is_open, message

_PAGE = TypeAdapter(ConversationsPage)
_DETAIL = TypeAdapter(ConversationDetail)
_WAITING = TypeAdapter(tuple[WaitingDecision, ...])
_GIVE = TypeAdapter(GiveDecision)
_BY = TypeAdapter(By)
_SAID = TypeAdapter(Said)


class ConversationHandlers:
    """Routes under /v1/conversations and /v1/decisions."""

    def __init__(self, db: Database, workers: Workers, deciding: Deciding) -> None:
        self._db = db
        self._workers = workers
        self._deciding = deciding

    def routes(self) -> list[Route]:
        one = "/v1/conversations/{conversation}"
        return [
            Route("GET", "/v1/conversations", self.page),
            Route("GET", one, self.view),
            Route("POST", one + "/stop", self.stop, By),
            Route("GET", "/v1/decisions", self.waiting),
            Route("POST", "/v1/decisions/{decision}", self.give, GiveDecision),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        given = request.query
        after = given.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 10):
            raise BadRequest("after: not a whole number from 0.", field="after")

        def fn(con: sa.Connection) -> ConversationsPage:
            return overview.page(
                con,
                words=given.get("q", "")[:200],
                owner=given.get("owner", "")[:64],
                state=given.get("state", ""),
                after=int(after),
            )

        return reply(await self._db.tx(fn, durable=False), _PAGE)

    async def view(self, request: web.Request) -> web.StreamResponse:
        wanted = identifier(request, "conversation")
        found = await self._db.tx(overview.detail, wanted, durable=False)
        if found is None:
            raise NotFound("There is no such conversation.")
        return reply(found, _DETAIL)

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """Everything that runs, waits or is queued there. By an admin, or its owner."""
        wanted, body = identifier(request, "conversation"), parsed(request, _BY)

        def fn(con: sa.Connection) -> tuple[list[int], list[int]]:
            who = acting(con, body.by)
            its = sa.select(conversation).where(conversation.c.id == wanted).with_for_update()
            home = con.execute(its).first()
            if home is None:
                raise NotFound("There is no such conversation.")
            if not who.is_admin and home.owner != who.id:
                raise Forbidden("Only the owner of this conversation, or an admin, can stop it.")
            rows = con.execute(sa.select(message).where(message.c.conversation == wanted, is_open))
            stopped: list[int] = []
            back: list[int] = []
            for row in rows.all():
                if stop_message(con, self._db, row):
                    (back if row.status == "queued" else stopped).append(row.id)
            return stopped, back

        stopped, back = await self._db.tx(fn)
        for one in stopped:
            self._workers.stop_turn(one)
        for one in back:
            await self._workers.taken_back(one)
        self._workers.wake_ready()
        count = len(stopped) + len(back)
        what = "1 message was" if count == 1 else f"{count} messages were"
        said = f"{what} stopped or taken back." if count else "Nothing was going on there."
        return reply(Said(said), _SAID)

    async def waiting(self, _request: web.Request) -> web.StreamResponse:
        return reply(await self._db.tx(overview.waiting, durable=False), _WAITING)

    async def give(self, request: web.Request) -> web.StreamResponse:
        decision_id, body = identifier(request, "decision"), parsed(request, _GIVE)
        answer = DecisionAnswer(
            body.outcome, body.by, body.reason, body.answers, body.scope, body.mode
        )
        return reply(Said(await self._deciding.decide_as(decision_id, body.by, answer)), _SAID)
