"""Schedules as something that runs: it wakes when one is due, and posts what is about schedules.

Each node looks by itself; rows decide which of them stores a run (`due.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import sqlalchemy as sa
import structlog

from adapters.contract import ActionIn, Adapter, Address, Choice, MessageOut, PostRef
from bridge.conversations import places
from bridge.engine.deciding import NOT_VALID
from bridge.engine.delivery import Report
from bridge.engine.say import say
from bridge.people import admission
from bridge.schedules import cards
from bridge.schedules.due import Due, Word
from bridge.schedules.timetable import Timetable
from bridge.store.database import Database
from bridge.store.errors import StoreTrouble
from bridge.store.schema import schedule

log = structlog.get_logger()

LOOK_SECONDS = 15.0
"""A node looks at least so often: another one that alone knew of a schedule may have died."""
FORGET_SECONDS = 3600.0

NOT_YOURS = "Only who wrote this schedule can answer that."
NOT_SCHEDULED = "Not scheduled."


class Schedules:
    """One a bridge process. `ready` is called when messages were stored."""

    def __init__(
        self,
        db: Database,
        table: Timetable,
        due: Due,
        adapters: Mapping[str, Adapter],
        ready: Callable[[], None],
        *,
        report: Report,
    ) -> None:
        self.table = table
        self._db = db
        self._due = due
        self._adapters = adapters
        self._ready = ready
        self._report = report
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: set[str] = set()
        """Keys of words on their way: a platform may be away for longer than `WORD_SECONDS`."""
        self._forget_at = float("-inf")

    async def run(self) -> None:
        """For ever; between times it sleeps."""
        while True:
            self._wake.clear()
            pause = LOOK_SECONDS
            try:
                pause = await self.look()
            except StoreTrouble as error:
                log.error("schedules not looked at", error=str(error), remedy=error.remedy)
            except Exception:
                log.exception("schedules not looked at")
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def wake(self) -> None:
        """Something about schedules changed."""
        self._wake.set()

    async def look(self) -> float:
        """Run what is due and tell what is to be told; gives how many seconds to sleep."""
        failed = False
        while True:
            found, next_at = await self._db.tx(self._due.look, durable=False)
            # Durable: a run that a power cut took back would be a second one to the agent.
            done = [await self._fire(each) for each in found]
            failed = failed or False in done
            if True not in done:
                break
        for word in await self._db.tx(self._due.words, durable=False):
            if word.key not in self._telling:
                self._telling.add(word.key)
                self._spawn(self._tell(word))
        now = self.table.clock()
        if now >= self._forget_at:
            self._forget_at = now + FORGET_SECONDS
            await self._db.tx(self._due.forget, durable=False)
        if failed or next_at is None:
            return LOOK_SECONDS
        return min(LOOK_SECONDS, max(0.0, next_at - now))

    async def _fire(self, schedule_id: str) -> bool:
        """False where it could not be dealt with and is due still."""
        try:
            done = await self._db.tx(self._due.fire, schedule_id)
        except StoreTrouble:
            raise
        except Exception:
            log.exception("schedule failed", schedule=schedule_id)
            return False
        if done == "run":
            log.info("schedule run", schedule=schedule_id)
            self._ready()
        return True

    async def stop(self) -> None:
        """What was not told is told after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self, word: Word) -> None:
        try:
            adapter = None if word.at is None else self._adapters.get(word.at.platform)
            if adapter is not None and word.at is not None:
                post = MessageOut(word.text, tone="notice")
                await say(adapter, word.at, word.key, post, self._report)
            else:
                log.warning("nowhere to tell it", schedule=word.schedule, text=word.text)
            await self._db.tx(self._due.said, word, durable=False)
        finally:
            self._telling.discard(word.key)

    # ---- cards ----

    def ask(self, schedule_id: str) -> None:
        """Have a proposed schedule shown where it will run, with buttons. Returns at once."""
        self._spawn(self._ask(schedule_id))

    async def _ask(self, schedule_id: str) -> None:
        row, at = await self._db.tx(self._shown, schedule_id, durable=False)
        if row is None or row.state != "proposed":
            return
        choices = (
            Choice(f"schedule:{row.id}:yes", "Schedule it", "primary"),
            Choice(f"schedule:{row.id}:no", "Do not"),
        )
        text = cards.proposed(row, self.table.clock())
        await self._show(row, at, MessageOut(text, choices, tone="decision"), again=False)

    async def act(self, action: ActionIn, rest: str) -> str:
        """What a button on a card means; gives what its presser is told, if anything."""
        schedule_id, _, answer = rest.partition(":")
        if answer not in ("yes", "no"):
            return NOT_VALID
        told, row, at = await self._db.tx(self._answered, action, schedule_id, answer == "yes")
        if row is None or at is None:
            return told
        self.wake()
        text = cards.scheduled(row) if row.state == "active" else told or NOT_SCHEDULED
        # Its button may be pressed before it is known where it is.
        await self._show(row, at, MessageOut(text, tone="notice"), again=True)
        return ""

    def _answered(
        self, con: sa.Connection, action: ActionIn, schedule_id: str, yes: bool
    ) -> tuple[str, Any | None, Address | None]:
        """(what is to be told, the row and its place where its card changes)."""
        row = self.table.proposed(con, schedule_id)
        who, refused = admission.admit(con, self._db, action.sender, action.address)
        if who is None or refused:
            return refused, None, None
        if row is None:
            return NOT_VALID, None, None
        if row.person != who.id:
            return NOT_YOURS, None, None
        at = places.address_of(self.table.home_of(con, row))
        if row.state != "proposed":
            # Pressed again, perhaps since the card did not change.
            return "", row if row.state == "active" else None, at
        told = self.table.start(con, row) if yes else NOT_SCHEDULED
        if told:
            self.table.remove(con, row)
            return told, row, at
        return "", self.table.proposed(con, schedule_id), at

    def _shown(self, con: sa.Connection, schedule_id: str) -> tuple[Any | None, Any]:
        row = self.table.proposed(con, schedule_id)
        home = None if row is None else self.table.home_of(con, row)
        return row, None if home is None else places.address_of(home)

    async def _show(self, row: Any, at: Address, post: MessageOut, *, again: bool) -> None:
        adapter = self._adapters.get(at.platform)
        if adapter is None:
            return

        async def record(_key: str, ref: PostRef) -> None:
            kept = schedule.update().where(schedule.c.id == row.id).values(card=ref.id)
            await self._db.tx(lambda con: con.execute(kept).rowcount, durable=False)

        key = f"schedule.{row.id}.card"
        known = {} if row.card is None else {key: PostRef(row.card)}
        await say(adapter, at, key, post, self._report, known=known, again=again, record=record)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except StoreTrouble as error:
                log.error("not told about a schedule", error=str(error), remedy=error.remedy)
            except Exception:
                log.exception("not told about a schedule")

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
