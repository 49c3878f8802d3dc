"""The agent service's feed: turns that went on by themselves while they waited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import sqlalchemy as sa
import structlog

from bridge.agent_client import AgentClient
from bridge.engine.inbox import Inbox
from bridge.engine.worker import Workers
from bridge.store.database import Database
from bridge.store.errors import StoreTrouble
from bridge.store.schema import cursor

log = structlog.get_logger()

NAME = "feed"
SAVE_SECONDS = 5.0


class Feed:
    """Reads the feed on one node of a deployment, from where an earlier reader stopped, and has
    what went on claimed by any of them.

    The place is stored seldom: reading an entry twice is harmless.
    """

    def __init__(
        self,
        db: Database,
        client: AgentClient,
        workers: Workers,
        inbox: Inbox,
        settled: Callable[[str], None],
    ) -> None:
        """`settled` hears of decisions that were settled after their turn; it must not block."""
        self._db = db
        self._client = client
        self._workers = workers
        self._inbox = inbox
        self._settled = settled
        self._seq = self._saved = 0
        self._waiting: set[str] = set()
        """Turns that may be waiting, on any node."""

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self._follow()
                except StoreTrouble as error:
                    log.error("feed not followed", error=str(error), remedy=error.remedy)
                except Exception:
                    log.exception("feed not followed, trying again")
                await asyncio.sleep(SAVE_SECONDS)
        finally:
            try:
                await self._save()
            except StoreTrouble as error:
                log.warning("place in the feed not stored", error=str(error), remedy=error.remedy)

    async def _follow(self) -> None:
        self._seq = self._saved = await self._db.tx(_load, durable=False)
        waiting = await self._db.tx(self._inbox.waiting, durable=False)
        self._waiting = {turn_id for turn_id, _ in waiting}
        clock = asyncio.get_running_loop().time
        save_at = clock() + SAVE_SECONDS
        async with aclosing(self._client.feed(self._seq)) as entries:
            async for entry in entries:
                if entry is None:
                    await self._begins_anew()
                    continue
                if entry.decision and entry.state == "finished":
                    self._settled(entry.decision)
                elif entry.decision:
                    await self._workers.went_on(entry.turn_id)
                elif entry.state == "waiting":
                    self._waiting.add(entry.turn_id)
                elif entry.turn_id in self._waiting:
                    self._waiting.discard(entry.turn_id)
                    await self._workers.went_on(entry.turn_id)
                self._seq = entry.seq
                if clock() >= save_at:
                    await self._save()
                    save_at = clock() + SAVE_SECONDS

    async def _begins_anew(self) -> None:
        """The agent service has another database than before: it knows none of the turns that
        wait, and whoever looks at them tells so."""
        log.warning("the agent service was set up anew; reading its feed from the start")
        self._seq = 0
        await self._save()
        await self._db.tx(self._inbox.look_again, durable=False)
        self._workers.wake_ready()

    async def _save(self) -> None:
        if self._seq != self._saved:
            await self._db.tx(self._store, self._seq, durable=False)
            self._saved = self._seq

    def _store(self, con: sa.Connection, seq: int) -> None:
        fresh = self._db.insert(cursor).values(name=NAME, value=seq)
        con.execute(
            fresh.on_conflict_do_update(
                index_elements=[cursor.c.name], set_={"value": fresh.excluded.value}
            )
        )


def _load(con: sa.Connection) -> int:
    return con.scalar(sa.select(cursor.c.value).where(cursor.c.name == NAME)) or 0
