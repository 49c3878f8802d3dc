"""Who may decide in a workspace: its owner, and people they or an admin named.

The agent service decides by what it was told here; the bridge checks first, so that a wrong click
is answered at once.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import sqlalchemy as sa

from bridge.people.access import OUT
from bridge.store.database import Database
from bridge.store.schema import decider, person


class Told(Protocol):
    async def set_deciders(self, workspace: str, people: tuple[str, ...], by: str) -> None:
        """From now on the answers of these people count there, and of nobody else."""
        ...


def of(con: sa.Connection, workspace: str) -> list[str]:
    """The people, the owner first; nobody who is not let in any more."""
    mine = sa.select(person.c.id).where(person.c.workspace == workspace)
    named = sa.select(decider.c.person).where(decider.c.workspace == workspace)
    return list(
        con.scalars(
            sa.select(person.c.id)
            .where(sa.or_(person.c.id.in_(mine), person.c.id.in_(named)), person.c.role.not_in(OUT))
            .order_by(person.c.workspace != workspace, person.c.id)
        )
    )


class Deciders:
    """Tells the agent service, before the first turn in a workspace and after each change."""

    def __init__(self, db: Database, agent: Told) -> None:
        self._db = db
        self._agent = agent
        self._told: set[str] = set()
        self._telling = asyncio.Lock()

    async def tell(self, workspace: str, by: str, *, again: bool = False) -> None:
        """Nothing happens where it was told before, unless `again`. Raises `ServiceError`."""
        if workspace in self._told and not again:
            return
        # Until it is told, the next turn tells it; and no older list may arrive after a newer one.
        self._told.discard(workspace)
        async with self._telling:
            told: tuple[str, ...] | None = None
            # Until what was told is what is so: another node may have told something older.
            while (people := tuple(await self._db.tx(of, workspace, durable=False))) != told:
                await self._agent.set_deciders(workspace, people, by)
                told = people
            self._told.add(workspace)
