"""What only one node of a deployment does at a time: whoever holds its lease."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
import structlog

from bridge.engine.claims import LEASE_SECONDS
from bridge.store.database import Database
from bridge.store.errors import StoreTrouble
from bridge.store.schema import lease

log = structlog.get_logger()
MARGIN_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Between two beginnings of work that failed, in seconds."""


class Leader:
    """One a node."""

    def __init__(self, db: Database, node: str) -> None:
        self._db = db
        self._node = node
        self._unasked: dict[str, str] = {}
        self._failed: dict[str, tuple[float, str]] = {}

    @property
    def troubles(self) -> list[str]:
        """What is not done now though it should be, or failed a short while ago, and why."""
        now = time.monotonic()
        failed = [why for until, why in self._failed.values() if now < until]
        return [*self._unasked.values(), *failed]

    async def take_back(self) -> None:
        """At start: where nobody else can have the database, nobody holds anything."""
        if not self._db.shared:
            await self._db.tx(lambda con: con.execute(lease.delete()).rowcount, durable=False)

    async def keep(
        self, name: str, work: Callable[[], Awaitable[None]], first_pause: float = FIRST_PAUSE
    ) -> None:
        """As `run`, for ever: work that ended, however it did, begins anew after a pause."""
        pause = first_pause
        while True:
            began = time.monotonic()
            try:
                await self.run(name, work)
                why = "ended by itself"
            except Exception as error:
                why = f"failed ({type(error).__name__})"
                log.exception("shared work failed, beginning it again", name=name)
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = first_pause
            told = f"The work `{name}` {why} and is begun again."
            self._failed[name] = (time.monotonic() + 2 * LONGEST_PAUSE, told)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease `name`, then do `work` for as long as it is held; returns, or
        raises, as `work` does. Work whose lease is lost is cancelled, and waited for again."""
        while True:
            asked = time.monotonic()
            if not await self._asked(name):
                await asyncio.sleep(LEASE_SECONDS / 3)
                continue
            task = asyncio.ensure_future(work())
            try:
                if await self._kept(name, task, asked):
                    return task.result()
                log.warning("lease lost", name=name)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await self._given_back(name)

    async def _kept(self, name: str, task: asyncio.Future[None], asked: float) -> bool:
        """True once the task is over; False when the lease may have gone to somebody else."""
        while True:
            await asyncio.wait({task}, timeout=LEASE_SECONDS / 3)
            if task.done():
                return True
            began = time.monotonic()
            held = await self._asked(name)
            if held:
                asked = began
            late = self._db.shared and began - asked > LEASE_SECONDS - MARGIN_SECONDS
            if held is False or (not held and late):
                return False

    async def _asked(self, name: str) -> bool | None:
        """Whether this node holds the lease now, for LEASE_SECONDS at least; None where the
        database does not say."""
        until = self._db.now + LEASE_SECONDS
        fresh = self._db.insert(lease).values(name=name, owner=self._node, until=until)
        mine = fresh.on_conflict_do_update(
            index_elements=[lease.c.name],
            set_={"owner": self._node, "until": until},
            where=sa.or_(lease.c.owner == self._node, lease.c.until < self._db.now),
        ).returning(lease.c.name)
        try:
            held = await self._db.tx(
                lambda con: con.execute(mine).first() is not None, durable=False
            )
        except StoreTrouble as error:
            log.error("lease not asked for", name=name, error=str(error), remedy=error.remedy)
        except Exception:
            log.exception("lease not asked for", name=name)
        else:
            self._unasked.pop(name, None)
            return held
        self._unasked[name] = f"Whether the work `{name}` is done here cannot be told."
        return None

    async def _given_back(self, name: str) -> None:
        mine = lease.delete().where(lease.c.name == name, lease.c.owner == self._node)
        try:
            await self._db.tx(lambda con: con.execute(mine).rowcount, durable=False)
        except Exception as error:  # noqa: BLE001 - it runs out by itself
            log.info("lease not given back", name=name, error=str(error))
