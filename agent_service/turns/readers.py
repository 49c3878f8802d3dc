"""The logs of unfinished turns, and how readers follow a turn and the feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from agent_service.contract import events
from agent_service.contract.events import FeedEntry, NumberedEvent
from agent_service.store import turns
from agent_service.store.database import Database
from agent_service.turns.log import TurnLog


class Readers:
    """One a service. What a turn has said is in its log while it is open, in the store after."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._logs: dict[str, TurnLog] = {}
        self._feed_changed = asyncio.Event()

    def begin(self, turn_id: str) -> None:
        """A turn that is new: nothing was ever said in it."""
        self._logs[turn_id] = TurnLog(self._database, turn_id, 1)

    async def log(self, turn_id: str) -> TurnLog:
        """The turn's log, made if need be."""
        log = self._logs.get(turn_id)
        if log is None:
            first = await self._database.tx(turns.next_seq, turn_id)
            # Somebody may have been quicker while we read.
            log = self._logs.setdefault(turn_id, TurnLog(self._database, turn_id, first))
        return log

    def forget(self, turn_id: str) -> None:
        """The turn is over or waits: who comes now reads the store."""
        self._logs.pop(turn_id, None)

    def close(self, turn_id: str, log: TurnLog) -> None:
        """End a log that was opened for one entry only, unless another took its place."""
        if self._logs.get(turn_id) is log:
            log.close()
            del self._logs[turn_id]

    async def events(self, turn_id: str, after: int) -> AsyncIterator[NumberedEvent]:
        """The events above `after` until the turn waits or is finished.

        Raises `NotFound`.
        """
        log = self._logs.get(turn_id)
        if log is not None and log.covers(after):
            async for item in log.follow(after):
                yield item
            return
        view, stored = await self._database.tx(
            lambda db: (turns.view(db, turn_id), turns.events(db, turn_id, after))
        )
        if log is None and view.state in ("queued", "running"):
            log = await self.log(turn_id)
        for seq, data in stored:
            event = events.from_json(data)
            after = seq
            if event is not None:
                yield NumberedEvent(seq, event)
        if log is not None:
            async for item in log.follow(after):
                yield item

    async def feed(self, after: int) -> AsyncIterator[FeedEntry]:
        """What happens to turns, above `after`, for ever."""
        while True:
            changed = self._feed_changed
            entries: Sequence[FeedEntry] = await self._database.tx(turns.feed, after)
            for entry in entries:
                after = entry.seq
                yield entry
            if not entries:
                await changed.wait()

    async def feed_place(self) -> int:
        """How far the feed has come."""
        return await self._database.tx(turns.feed_place)

    def wake_feed(self) -> None:
        """Something was added to the feed."""
        self._feed_changed.set()
        self._feed_changed = asyncio.Event()
