"""A word under a message that has to wait for the turn before it, with the way to change that.

The button holds for as long as the message waits, over restarts too. Where a process dies before
the word is said, the message waits without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import sqlalchemy as sa
import structlog

from adapters.contract import Adapter, Address, Choice, MessageIn, MessageOut, PostRef
from bridge.conversations import places, sharing
from bridge.engine.delivery import Report
from bridge.engine.inbox import message_key
from bridge.engine.pending import home_of
from bridge.engine.say import say
from bridge.people import access
from bridge.store.database import Database
from bridge.store.schema import message, post, seen

log = structlog.get_logger()

AFTER_SECONDS = 1.0
"""What waits no longer than that needs no word."""
QUEUED = "Queued: it is taken when what runs now is through."
STARTED = "Was queued; it has started."
TAKEN_BACK = "Was queued; it was taken back."
NEXT = "What runs is being stopped; this comes next."


class QueuedNotices:
    """One a bridge process. Calls return at once and never fail."""

    def __init__(self, db: Database, adapters: Mapping[str, Adapter], report: Report) -> None:
        self._db = db
        self._adapters = adapters
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        self._newest: dict[int, asyncio.Task[None]] = {}

    def tell(self, said: MessageIn) -> None:
        """It was stored and something is before it."""
        self._spawn(self._tell(said))

    def show(self, message_id: int, text: str) -> None:
        """Its word, if there is one, says this from now on and has no button."""
        before = self._newest.get(message_id)

        async def in_order() -> None:
            if before is not None:
                await asyncio.wait({before})
            await self._show(message_id, text)

        task = self._newest[message_id] = self._spawn(in_order())

        def forget(_: asyncio.Task[None]) -> None:
            if self._newest.get(message_id) is task:
                del self._newest[message_id]

        task.add_done_callback(forget)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - the message itself is in good hands
                log.warning("word about a queued message failed", error=str(error))

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell(self, said: MessageIn) -> None:
        await asyncio.sleep(AFTER_SECONDS)
        row = await self._db.tx(self._waits, said, durable=False)
        adapter = self._adapters.get(said.address.platform)
        if row is None or adapter is None:
            return

        async def record(key: str, ref: PostRef) -> None:
            await self._db.tx(self._keep, row, key, ref, durable=False)

        choices = (
            Choice(f"instead:{row.id}", "Stop and do this instead", "danger"),
            Choice(f"stop:{row.id}", "Take it back"),
        )
        word = MessageOut(QUEUED, choices, tone="notice", answers=said.keys[0])
        await say(adapter, said.address, _key(row), word, self._report, record=record)
        # It may have been taken while its word was on its way, and found none to change.
        now = await self._db.tx(_status, row.id, durable=False)
        if now != "queued":
            await self._show(row.id, TAKEN_BACK if now == "cancelled" else STARTED)

    def _waits(self, con: sa.Connection, said: MessageIn) -> Any | None:
        """The message's row, where it still waits and its sender may change that."""
        row = con.execute(
            sa.select(message)
            .join(seen, seen.c.turn_id == message.c.turn_id)
            .where(seen.c.key == message_key(said, said.keys[0]), message.c.status == "queued")
        ).first()
        who = access.find(con, said.sender.identity)
        if row is None or who is None or access.refusal(who):
            return None
        return row if sharing.part_of(con, home_of(con, row.conversation), who) else None

    def _keep(self, con: sa.Connection, row: Any, key: str, ref: PostRef) -> None:
        fresh = self._db.insert(post).values(
            key=key, conversation=row.conversation, message=row.id, ref=ref.id, at=self._db.now
        )
        con.execute(fresh.on_conflict_do_nothing())

    async def _show(self, message_id: int, text: str) -> None:
        found = await self._db.tx(_word, message_id, durable=False)
        if found is None:
            return
        at, key, ref, answers = found
        adapter = self._adapters.get(at.platform)
        if adapter is not None:
            word = MessageOut(text, tone="notice", answers=answers)
            await say(adapter, at, key, word, self._report, known={key: ref})


def _key(row: Any) -> str:
    return f"{row.turn_id}.queued"


def _status(con: sa.Connection, message_id: int) -> str | None:
    return con.scalar(sa.select(message.c.status).where(message.c.id == message_id))


def _word(con: sa.Connection, message_id: int) -> tuple[Address, str, PostRef, str] | None:
    row = con.execute(sa.select(message).where(message.c.id == message_id)).one()
    ref = con.scalar(sa.select(post.c.ref).where(post.c.key == _key(row)))
    if ref is None:
        return None
    keys = row.payload.get("keys") or [""]
    return places.address_of(home_of(con, row.conversation)), _key(row), PostRef(ref), str(keys[0])
