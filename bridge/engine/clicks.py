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
from bridge.engine.claims import LEASE_SECONDS
from bridge.engine.deciding import NOT_VALID, Deciding
from bridge.engine.delivery import Report
from bridge.engine.inbox import remember
from bridge.engine.job import ACTION
from bridge.engine.pending import (
    behind_all,
    home_of,
    locked,
    next_instead,
    queue,
    stop_message,
)
from bridge.engine.say import say
from bridge.engine.worker import Workers
from bridge.people import admission
from bridge.schedules.running import Schedules
from bridge.store.database import Database
from bridge.store.errors import StoreTrouble
from bridge.store.schema import click, is_open, message

log = structlog.get_logger()

_QUEUED = sa.text("click.status = 'queued'")
MOST_AT_ONCE = 100

NOT_YOURS = "Only those who take part in this conversation can use this button."
NOT_YOUR_TURN = "Only who asked, the owner of the conversation and those who decide there can."
ENDING = "This is just ending. Press the button again in a moment."
ENDING_TRIES = 30
RETRIED = "This was asked again already."
ALREADY_STARTED = "This has started already, or is over: there is nothing to change."
ALREADY_OVER = "This is over already; there is nothing to stop."


BROKEN = "The bridge failed at this button; its log says why. Press it again, or ask an operator."


class Clicks:
    """The durable buttons. One that a crash interrupted is acted on again, by whichever node
    finds it left alone for longer than a lease."""

    def __init__(
        self,
        db: Database,
        workers: Workers,
        adapters: Mapping[str, Adapter],
        deciding: Deciding,
        schedules: Schedules,
        *,
        node: str,
        report: Report,
    ) -> None:
        self._db = db
        self._node = node
        self._deciding = deciding
        self._schedules = schedules
        self._workers = workers
        self._adapters = adapters
        self._report = report
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Go on with what an earlier process left, then watch for what another node leaves."""
        if not self._db.shared:
            alone = click.update().where(_QUEUED).values(until=0.0, owner=None)
            await self._db.tx(lambda con: con.execute(alone).rowcount, durable=False)
        await self._sweep()
        self._sweeping = asyncio.create_task(self._sweep_loop())

    async def stop(self) -> None:
        """What is not finished is free for others at once."""
        tasks = [*self._tasks.values(), *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        mine = click.update().where(_QUEUED, click.c.owner == self._node)
        free = mine.values(until=0.0, owner=None)
        if self._sweeping is not None:
            self._sweeping = None
            try:
                await self._db.tx(lambda con: con.execute(free).rowcount, durable=False)
            except StoreTrouble as error:
                log.warning("clicks not given back", error=str(error))

    async def _sweep_loop(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await self._sweep()
            except StoreTrouble as error:
                log.error("clicks not looked for", error=str(error), remedy=error.remedy)
            except Exception:
                log.exception("clicks not looked for")

    async def _sweep(self) -> None:
        for row in await self._db.tx(self._left_alone, list(self._tasks), durable=False):
            self._begin(row.id, row.payload)

    def _left_alone(self, con: sa.Connection, mine: list[int]) -> list[Any]:
        """Keep those at work here; take those that nobody is at work on."""
        until = self._db.now + LEASE_SECONDS
        con.execute(
            click.update()
            .where(_QUEUED, click.c.id.in_(mine), click.c.owner == self._node)
            .values(until=until)
        )
        rows = con.execute(
            sa.select(click.c.id, click.c.payload)
            .where(_QUEUED, click.c.until < self._db.now, click.c.id.not_in(mine))
            .order_by(click.c.id)
            .limit(MOST_AT_ONCE)
            .with_for_update(skip_locked=True)
        ).all()
        taken = click.update().where(click.c.id.in_([row.id for row in rows]))
        con.execute(taken.values(owner=self._node, until=until))
        return list(rows)

    async def submit(self, action: ActionIn) -> bool:
        """Store a click and act on it. False for one that was stored before."""
        made = await self._db.tx(self._store, action)
        if made is not None:
            self._begin(made, ACTION.dump_python(action, mode="json"))
        return made is not None

    def _store(self, con: sa.Connection, action: ActionIn) -> int | None:
        keys = [f"{action.address.platform}:action:{key}" for key in action.keys]
        if not remember(con, self._db, keys):
            return None
        payload = ACTION.dump_python(action, mode="json")
        made: int = con.execute(
            click.insert()
            .values(
                payload=payload,
                status="queued",
                at=self._db.now,
                owner=self._node,
                until=self._db.now + LEASE_SECONDS,
            )
            .returning(click.c.id)
        ).scalar_one()
        return made

    def _begin(self, click_id: int, payload: Any) -> None:
        if click_id in self._tasks:
            return
        task = self._tasks[click_id] = asyncio.create_task(self._act(click_id, payload))
        task.add_done_callback(lambda _: self._tasks.pop(click_id, None))

    async def _act(self, click_id: int, payload: Any) -> None:
        try:
            action = ACTION.validate_python(payload)
            try:
                told = await self._meaning(click_id, action)
            except (StoreTrouble, errors.ServiceError):
                raise
            except Exception:
                # Not again: it would fail again, for ever.
                log.exception("click failed", click=click_id)
                told = BROKEN
            if told:
                await self._tell(click_id, action, told)
        except StoreTrouble as error:
            # The next sweep takes it up again.
            log.error("click not finished", error=str(error), remedy=error.remedy)
            return
        except errors.ServiceError as error:
            log.error("click not noted, tried again", click=click_id, error=str(error))
            return
        except Exception:
            log.exception("click not answered", click=click_id)
        done = click.update().where(click.c.id == click_id).values(status="done")
        try:
            await self._db.tx(lambda con: con.execute(done).rowcount, durable=False)
        except StoreTrouble as error:
            log.error("click not finished", error=str(error), remedy=error.remedy)

    async def _meaning(self, click_id: int, action: ActionIn) -> str:
        """Do what the button says; returns what its presser is told, if anything."""

        async def tell(text: str) -> None:
            await self._tell(click_id, action, text)

        kind, _, rest = action.action.partition(":")
        if kind == "d":
            return await self._deciding.act(action, rest, tell)
        if kind == "schedule":
            return await self._schedules.act(action, rest)
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
                self._workers.notices.changed(int(rest[:18]))
            if running is not None:
                self._workers.stop_turn(running)
            self._workers.wake_ready()
            return told
        if kind == "retry" and rest.isdecimal():
            told = await self._db.tx(self._retry, action, int(rest[:18]))
            for _ in range(ENDING_TRIES):
                # The button is seen a moment before its message is written down as over.
                if told != ENDING:
                    break
                await asyncio.sleep(0.1)
                told = await self._db.tx(self._retry, action, int(rest[:18]))
            self._workers.wake_ready()
            return told
        return NOT_VALID

    def _refused(
        self, con: sa.Connection, action: ActionIn, row: Any | None, *, stops: bool = False
    ) -> str:
        """Why this person may not do anything about the message of `row`; an admin always may
        stop it."""
        home = row and home_of(con, row.conversation)
        if row is None or home is None or places.address_of(home) != action.address:
            return NOT_VALID
        who, refused = admission.admit(con, self._db, action.sender, action.address)
        if who is None or refused:
            return refused
        if stops and who.is_admin:
            return ""
        if sharing.part_of(con, home, who) is None:
            return NOT_YOURS
        return "" if sharing.is_theirs(con, home, who, row.payload) else NOT_YOUR_TURN

    def _stop(self, con: sa.Connection, action: ActionIn, message_id: int) -> tuple[str, str]:
        """(what its presser is told, the status of what was stopped)."""
        row, _ = locked(con, message_id)
        if refused := self._refused(con, action, row, stops=True):
            return refused, ""
        if row is None or not stop_message(con, self._db, row):
            return ALREADY_OVER, ""
        return "", row.status

    def _instead(
        self, con: sa.Connection, action: ActionIn, message_id: int
    ) -> tuple[str, int | None]:
        """(what its presser is told, the message whose turn is to be stopped for it)."""
        row, _ = locked(con, message_id)
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
        row, home = locked(con, message_id)
        if refused := self._refused(con, action, row):
            return refused
        if row is not None and row.status == "running":
            return ENDING
        if row is None or home is None or row.status not in ("failed", "cancelled"):
            return NOT_VALID
        if row.retried_by is not None:
            return RETRIED
        order = max(behind_all(con, home), row.order)
        again = queue(con, self._db, home, order, row.payload, schedule=row.schedule)
        con.execute(message.update().where(message.c.id == row.id).values(retried_by=again))
        return ""

    async def _tell(self, click_id: int, action: ActionIn, text: str) -> None:
        adapter = self._adapters.get(action.address.platform)
        if adapter is None:
            return
        said = MessageOut(text, only_for=action.sender.identity, tone="notice")
        await say(adapter, action.address, f"click.{click_id}", said, self._report)
