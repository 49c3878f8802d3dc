"""The numbered log of one unfinished turn, and how readers follow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

import sqlalchemy as sa
import structlog

from agent_service.contract import events
from agent_service.contract.events import Event, NumberedEvent, Text, TextDelta
from agent_service.store import turns
from agent_service.store.database import Database, StoreFull

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class TurnLog:
    """Events of one turn, in memory while it runs.

    Readers get an event as soon as it is known. All but deltas are written behind in order;
    `commit` writes what is left in one transaction with whatever must be true together with it,
    and only then shows its own event.
    """

    def __init__(self, database: Database, turn_id: str, first_seq: int) -> None:
        self.turn_id = turn_id
        self._database = database
        self._first = self._next = first_seq
        self._memory: list[NumberedEvent] = []
        self._unwritten: list[NumberedEvent] = []
        self._writer: asyncio.Task[None] | None = None
        self._write_lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._closed = False

    def covers(self, after: int) -> bool:
        """Whether every event above `after` is or was here, so that nobody need look elsewhere."""
        return self._first <= after + 1

    def add(self, event: Event) -> None:
        """Number an event and show it. It is written soon."""
        numbered = self._number(event)
        if not isinstance(event, TextDelta):
            self._unwritten.append(numbered)
            if self._writer is None or self._writer.done():
                self._writer = asyncio.create_task(self._write_behind())
        self._show(numbered)

    def _number(self, event: Event) -> NumberedEvent:
        numbered = NumberedEvent(self._next, event)
        self._next += 1
        return numbered

    def _show(self, numbered: NumberedEvent) -> None:
        if isinstance(numbered.event, Text):
            # The block replaces its deltas: who joins later needs only the whole.
            self._memory = [n for n in self._memory if not isinstance(n.event, TextDelta)]
        self._memory.append(numbered)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _write_behind(self) -> None:
        try:
            while self._unwritten:
                await self._write(lambda _: None)
        except StoreFull as error:
            # Nothing is lost while the process lives: the next commit writes it too.
            _log.warning("turn.events_unwritten", turn_id=self.turn_id, reason=str(error))

    async def commit(self, change: Callable[[sa.Connection], T], *shown: Event) -> T:
        """Make `change` and the events durable in one transaction, then show the events.

        Whatever `change` raises leaves neither.
        """
        numbered = [self._number(event) for event in shown]
        result = await self._write(change, numbered)
        for one in numbered:
            self._show(one)
        return result

    async def _write(
        self, change: Callable[[sa.Connection], T], more: Sequence[NumberedEvent] = ()
    ) -> T:
        async with self._write_lock:
            batch = list(self._unwritten)

            def write(db: sa.Connection) -> T:
                result = change(db)
                turns.append(
                    db,
                    self.turn_id,
                    [(n.seq, events.to_json(n.event)) for n in (*batch, *more)],
                )
                return result

            result = await self._database.tx(write)
            del self._unwritten[: len(batch)]
            return result

    def close(self) -> None:
        """No more events: readers end once they have seen all."""
        self._closed = True
        self._wake()

    async def follow(self, after: int) -> AsyncIterator[NumberedEvent]:
        """Events above `after`, as they come, until the log is closed."""
        position = after
        while True:
            changed = self._changed
            # A delta may vanish between two looks; its block comes in its place.
            for numbered in [n for n in self._memory if n.seq > position]:
                position = numbered.seq
                yield numbered
            if changed is not self._changed:
                continue
            if self._closed:
                return
            await changed.wait()
