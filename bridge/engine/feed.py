"""The agent service's feed: turns that went on by themselves while they waited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import sqlalchemy as sa
import structlog

from bridge.agent_client import AgentClient
from bridge.engine.worker import Workers
from bridge.store.database import Database
from bridge.store.errors import StoreFull
from bridge.store.schema import cursor

log = structlog.get_logger()

NAME = "feed"
SAVE_SECONDS = 5.0


class Feed:
    """Reads the feed for as long as the bridge runs, from where an earlier process stopped.

    The place is stored seldom: reading an entry twice is harmless.
    """

    def __init__(
        self, db: Database, client: AgentClient, workers: Workers, settled: Callable[[str], None]
    ) -> None:
        """`settled` hears of decisions that were settled after their turn; it must not block."""
        self._db = db
        self._client = client
        self._workers = workers
        self._settled = settled
        self._seq: int | None = None
        self._saved = 0

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except StoreFull as error:
                log.error("feed not followed", error=str(error), remedy=error.remedy)
            except Exception:
                log.exception("feed not followed, trying again")
            await asyncio.sleep(SAVE_SECONDS)

    async def _follow(self) -> None:
        if self._seq is None:
            self._seq = self._saved = await self._db.tx(self._load, durable=False)
        clock = asyncio.get_running_loop().time
        save_at = clock() + SAVE_SECONDS
        async with aclosing(self._client.feed(self._seq)) as entries:
            async for entry in entries:
                if entry.decision and entry.state == "finished":
                    self._settled(entry.decision)
                elif entry.decision or entry.state != "waiting":
                    await self._workers.went_on(entry.turn_id)
                self._seq = max(self._seq, entry.seq)
                if clock() >= save_at:
                    await self.save()
                    save_at = clock() + SAVE_SECONDS

    async def save(self) -> None:
        """Store the place now. Does nothing where it is stored, or none was ever read."""
        if self._seq is not None and self._seq > self._saved:
            await self._db.tx(self._save, self._seq, durable=False)
            self._saved = self._seq

    def _load(self, con: sa.Connection) -> int:
        return con.scalar(sa.select(cursor.c.value).where(cursor.c.name == NAME)) or 0

    def _save(self, con: sa.Connection, seq: int) -> None:
        fresh = self._db.insert(cursor).values(name=NAME, value=seq)
        con.execute(
            fresh.on_conflict_do_update(
                index_elements=[cursor.c.name], set_={"value": fresh.excluded.value}
            )
        )
