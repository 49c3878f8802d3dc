"""What a worker writes down while it goes: posts, decisions, and steps that must not be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import sqlalchemy as sa
import structlog

from adapters.contract import PostRef
from agent_service.contract import Decision
from bridge.engine.attaching import Brought
from bridge.engine.inbox import Inbox
from bridge.engine.job import Job, LeaseLost
from bridge.engine.turn import shown_decision
from bridge.people import access
from bridge.store import schema
from bridge.store.database import Database
from bridge.store.errors import StoreTrouble

log = structlog.get_logger()
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Record:
    """Writes are not durable on purpose: what a power cut takes back is only done once more,
    idempotently."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def stored(
        self, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts, durable: bool = False
    ) -> T:
        """A step of a worker: it waits for the database, or for room on its disk, rather than
        lose its place. `fn` bears it to have been done already."""
        pause = 0.25
        while True:
            try:
                return await self._db.tx(fn, *args, durable=durable)
            except StoreTrouble as error:
                log.error("waiting for the database", error=str(error), remedy=error.remedy)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    async def post(self, job: Job, key: str, ref: PostRef) -> None:
        """Where a post is, so that an edit finds it after any restart. Raises `LeaseLost`."""

        def fn(con: sa.Connection) -> None:
            _held(con, job)
            fresh = self._db.insert(schema.post).values(
                key=key,
                conversation=job.lease.conversation,
                message=job.message,
                ref=ref.id,
                at=self._db.now,
            )
            con.execute(
                fresh.on_conflict_do_update(
                    index_elements=[schema.post.c.key], set_={"ref": fresh.excluded.ref}
                )
            )

        try:
            await self._db.tx(fn, durable=False)
        except StoreTrouble:
            # The adapter gives the same post for the same key after a crash.
            log.warning("post not recorded", key=key)

    async def fetched(self, inbox: Inbox, job: Job, brought: Brought) -> None:
        """On the disk before anything is asked: a turn must be put with the same files again."""
        request = {**job.request, **brought.as_request}
        await self.stored(inbox.fetched, job, request, brought.refused, durable=True)

    async def name_of(self, person: str) -> str:
        """Their name for people to read."""
        return await self._db.tx(access.name_of, person, durable=False)

    async def behind(self, job: Job) -> bool:
        """Whether what the agent knows as the same conversation waits for a decision elsewhere:
        its turns come one after another."""
        c = schema.message.c
        query = sa.select(c.id).where(
            schema.is_open,
            c.status == "waiting",
            c.agent_conversation == job.request["conversation"],
            c.conversation != job.lease.conversation,
        )
        found = await self.stored(lambda con: con.execute(query.limit(1)).first())
        return found is not None

    async def decision(self, job: Job, asked: Decision) -> None:
        """What was asked, so that a button finds it."""

        def fn(con: sa.Connection) -> None:
            _held(con, job)
            con.execute(
                self._db.insert(schema.decision)
                .values(
                    id=asked.id,
                    message=job.message,
                    conversation=job.lease.conversation,
                    turn_id=job.turn_id,
                    shown=shown_decision(asked),
                )
                .on_conflict_do_nothing()
            )

        await self.stored(fn)


def _held(con: sa.Connection, job: Job) -> None:
    """Raises `LeaseLost`. The row is not locked: a successor writes the same, by its key."""
    c = schema.conversation.c
    if con.scalar(sa.select(c.fence).where(c.id == job.lease.conversation)) != job.lease.fence:
        raise LeaseLost(job.lease.conversation)
