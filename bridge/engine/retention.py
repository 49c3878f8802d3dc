"""What is forgotten: messages that are over and all that belongs to them, clicks, delivery keys.

Conversations that somebody owns and people stay: who owns a thread, and what the agent knows it
as, must outlast what was said in it.
"""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
import structlog

from bridge.budgets import pace
from bridge.budgets.budgets import Budgets
from bridge.store.database import Database
from bridge.store.errors import StoreTrouble
from bridge.store.schema import attachment, click, conversation, decision, message, post, seen

log = structlog.get_logger()

EVERY_SECONDS = 3600.0
BATCH = 200
PAUSE_SECONDS = 0.05
"""Between two batches, for those who have something to store."""


class Retention:
    """Run it on one node at a time."""

    def __init__(self, db: Database, budgets: Budgets, days: int) -> None:
        self._db = db
        self._budgets = budgets
        self._days = days

    async def run(self) -> None:
        """Once an hour, for ever."""
        while True:
            try:
                await self.forget()
            except StoreTrouble as error:
                log.error("nothing forgotten", error=str(error), remedy=error.remedy)
            except Exception:
                log.exception("nothing forgotten")
            await asyncio.sleep(EVERY_SECONDS)

    async def forget(self) -> int:
        """Delete all that is old enough, in small transactions; gives how many rows were chosen.
        What is open or waits is never old enough."""
        total = 0
        for step in (
            self._messages,
            self._clicks,
            self._keys,
            self._files,
            self._counts,
            self._strangers,
        ):
            while gone := await self._db.tx(step, durable=False):
                total += gone
                await asyncio.sleep(PAUSE_SECONDS)
        return total

    @property
    def _oldest(self) -> sa.ColumnElement[float]:
        return self._db.now - self._days * 86_400.0

    def _messages(self, con: sa.Connection) -> int:
        c = message.c
        old = sa.select(c.id).where(c.done_at.is_not(None), c.done_at < self._oldest).limit(BATCH)
        ids = con.scalars(old.with_for_update(skip_locked=True)).all()
        if ids:
            con.execute(post.delete().where(post.c.message.in_(ids)))
            con.execute(decision.delete().where(decision.c.message.in_(ids)))
            con.execute(message.delete().where(c.id.in_(ids)))
        return len(ids)

    def _clicks(self, con: sa.Connection) -> int:
        old = sa.select(click.c.id).where(click.c.at < self._oldest, click.c.status == "done")
        ids = con.scalars(old.limit(BATCH)).all()
        if ids:
            con.execute(click.delete().where(click.c.id.in_(ids)))
        return len(ids)

    def _files(self, con: sa.Connection) -> int:
        """Names of files that came with messages which are forgotten. The files stay: one that
        comes under the name of an old one takes another."""
        c = attachment.c
        old = sa.select(c.workspace, c.name).where(c.at < self._oldest).limit(BATCH)
        rows = con.execute(old).all()
        for row in rows:
            con.execute(attachment.delete().where(c.workspace == row.workspace, c.name == row.name))
        return len(rows)

    def _strangers(self, con: sa.Connection) -> int:
        """Places where only strangers wrote, once their messages are forgotten."""
        c = conversation.c
        old = sa.select(c.id).where(
            c.owner.is_(None),
            c.workspace.is_(None),
            c.pending == 0,
            c.last_active < self._oldest,
            ~sa.exists().where(message.c.conversation == c.id),
        )
        ids = con.scalars(old.limit(BATCH).with_for_update(skip_locked=True)).all()
        if ids:
            con.execute(post.delete().where(post.c.conversation.in_(ids)))
            con.execute(conversation.delete().where(c.id.in_(ids)))
        return len(ids)

    def _counts(self, con: sa.Connection) -> int:
        gone = self._budgets.forget(con, BATCH)
        return gone + pace.forget(con, self._budgets.clock(), BATCH)

    def _keys(self, con: sa.Connection) -> int:
        old = sa.select(seen.c.key).where(seen.c.at < self._oldest).order_by(seen.c.at)
        keys = con.scalars(old.limit(BATCH)).all()
        if keys:
            con.execute(seen.delete().where(seen.c.key.in_(keys)))
        return len(keys)
