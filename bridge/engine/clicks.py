"""Buttons: stored first, then acted on at once; what a button means is looked up, never trusted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
import structlog

from adapters.contract import ActionIn, Adapter, MessageOut
from agent_service.contract import errors
from bridge.conversations import places, sharing
from bridge.engine.deciding import NOT_VALID, Deciding
from bridge.engine.delivery import Report
from bridge.engine.inbox import remember
from bridge.engine.job import ACTION
from bridge.engine.pending import home_of, next_instead, queue, stop_message
from bridge.engine.queued import NEXT
from bridge.engine.say import say
from bridge.engine.worker import Workers
from bridge.people import admission
from bridge.store.database import Database
from bridge.store.errors import StoreFull
from bridge.store.schema import click, is_open, message

log = structlog.get_logger()

NOT_YOURS = "Only those who take part in this conversation can use this button."
NOT_YOUR_TURN = "Only who asked, the owner of the conversation and those who decide there can."
RETRIED = "This was asked again already."
ALREADY_STARTED = "This has started already, or is over: there is nothing to change."
ALREADY_OVER = "This is over already; there is nothing to stop."


class Clicks:
    """The durable buttons. One that a crash interrupted is acted on again at the next start."""

    def __init__(
        self,
        db: Database,
        workers: Workers,
        adapters: Mapping[str, Adapter],
        deciding: Deciding,
        *,
        report: Report,
    ) -> None:
        self._db = db
        self._deciding = deciding
        self._workers = workers
        self._adapters = adapters
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Go on with what an earlier process left."""
        queued = sa.select(click.c.id, click.c.payload).where(sa.text("click.status = 'queued'"))
        rows = await self._db.tx(lambda con: con.execute(queued).all(), durable=False)
        for row in rows:
            self._begin(row.id, ACTION.validate_python(row.payload))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(self, action: ActionIn) -> bool:
        """Store a click and act on it. False for one that was stored before."""
        made = await self._db.tx(self._store, action)
        if made is not None:
            self._begin(made, action)
        return made is not None

    def _store(self, con: sa.Connection, action: ActionIn) -> int | None:
        keys = [f"{action.address.platform}:action:{key}" for key in action.keys]
        if not remember(con, self._db, keys):
            return None
        payload = ACTION.dump_python(action, mode="json")
        made: int = con.execute(
            click.insert()
            .values(payload=payload, status="queued", at=self._db.now)
            .returning(click.c.id)
        ).scalar_one()
        return made

    def _begin(self, click_id: int, action: ActionIn) -> None:
        task = asyncio.create_task(self._act(click_id, action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _act(self, click_id: int, action: ActionIn) -> None:
        try:
            told = await self._meaning(click_id, action)
            if told:
                await self._tell(click_id, action, told)
            done = click.update().where(click.c.id == click_id).values(status="done")
            await self._db.tx(lambda con: con.execute(done).rowcount, durable=False)
        except StoreFull as error:
            log.error("click not finished", error=str(error), remedy=error.remedy)
        except errors.ServiceError as error:
            log.error("click not noted, again at the next start", click=click_id, error=str(error))
        except Exception:
            log.exception("click failed", click=click_id)

    async def _meaning(self, click_id: int, action: ActionIn) -> str:
        """Do what the button says; returns what its presser is told, if anything."""

        async def tell(text: str) -> None:
            await self._tell(click_id, action, text)

        kind, _, rest = action.action.partition(":")
        if kind == "d":
            return await self._deciding.act(action, rest, tell)
        if kind == "stop" and rest.isdecimal():
            told, status = await self._db.tx(self._stop, action, int(rest[:18]))
            if status == "queued":
                await self._workers.taken_back(int(rest[:18]))
            elif status:
                self._workers.stop_turn(int(rest[:18]))
            return told
        if kind == "instead" and rest.isdecimal():
            told, running = await self._db.tx(self._instead, action, int(rest[:18]))
            if not told:
                self._workers.notices.show(int(rest[:18]), NEXT)
            if running is not None:
                self._workers.stop_turn(running)
            self._workers.wake_ready()
            return told
        if kind == "retry" and rest.isdecimal():
            told = await self._db.tx(self._retry, action, int(rest[:18]))
            self._workers.wake_ready()
            return told
        return NOT_VALID

    def _refused(self, con: sa.Connection, action: ActionIn, row: Any | None) -> str:
        """Why this person may not do anything about the message of `row`."""
        home = row and home_of(con, row.conversation)
        if row is None or home is None or places.address_of(home) != action.address:
            return NOT_VALID
        who, refused = admission.admit(con, self._db, action.sender, action.address)
        if who is None or refused:
            return refused
        if sharing.part_of(con, home, who) is None:
            return NOT_YOURS
        return "" if sharing.is_theirs(con, home, who, row.payload) else NOT_YOUR_TURN

    def _stop(self, con: sa.Connection, action: ActionIn, message_id: int) -> tuple[str, str]:
        """(what its presser is told, the status of what was stopped)."""
        row = con.execute(sa.select(message).where(message.c.id == message_id)).first()
        if refused := self._refused(con, action, row):
            return refused, ""
        if row is None or not stop_message(con, self._db, row):
            return ALREADY_OVER, ""
        return "", row.status

    def _instead(
        self, con: sa.Connection, action: ActionIn, message_id: int
    ) -> tuple[str, int | None]:
        """(what its presser is told, the message whose turn is to be stopped for it)."""
        row = con.execute(sa.select(message).where(message.c.id == message_id)).first()
        if refused := self._refused(con, action, row):
            return refused, None
        if row is None or row.status != "queued":
            return ALREADY_STARTED, None
        c = message.c
        running = sa.select(message).where(
            c.conversation == row.conversation, is_open, c.status != "queued"
        )
        current = con.execute(running).first()
        if current is not None and (refused := self._refused(con, action, current)):
            return refused, None
        return "", next_instead(con, self._db, row)

    def _retry(self, con: sa.Connection, action: ActionIn, message_id: int) -> str:
        row = con.execute(sa.select(message).where(message.c.id == message_id)).first()
        if refused := self._refused(con, action, row):
            return refused
        home = row and home_of(con, row.conversation)
        if row is None or home is None or row.status not in ("failed", "cancelled"):
            return NOT_VALID
        if row.retried_by is not None:
            return RETRIED
        last = con.scalar(
            sa.select(sa.func.max(message.c.order)).where(message.c.conversation == home.id)
        )
        again = queue(con, self._db, home, last or row.order, row.payload)
        con.execute(message.update().where(message.c.id == row.id).values(retried_by=again))
        return ""

    async def _tell(self, click_id: int, action: ActionIn, text: str) -> None:
        adapter = self._adapters.get(action.address.platform)
        if adapter is None:
            return
        said = MessageOut(text, only_for=action.sender.identity, tone="notice")
        await say(adapter, action.address, f"click.{click_id}", said, self._report)
