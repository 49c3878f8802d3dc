"""Who may decide in a workspace: its owner, and people they or an admin named.

The agent service decides by what it was told here; the bridge checks first, so that a wrong click
is answered at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Protocol

import sqlalchemy as sa
import structlog

from agent_service.contract import errors
from bridge.people.access import OUT
from bridge.store.database import Database
from bridge.store.schema import cursor, decider, person

log = structlog.get_logger()

TELLER = "bridge"
"""Who tells a change that could not be told when somebody made it."""
_NAME = "deciders "
_UNTOLD = 0


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
    """Tells the agent service, before the first turn of this process in a workspace and before
    each turn after a change, whichever node made it. A row a workspace says what it was told."""

    def __init__(self, db: Database, agent: Told) -> None:
        self._db = db
        self._agent = agent
        self._told: set[str] = set()
        self._telling = asyncio.Lock()

    async def tell(self, workspace: str, by: str, *, again: bool = False) -> None:
        """Nothing happens where it knows already, unless `again`. Raises `ServiceError`."""
        if not again and await self._knows(workspace):
            return
        # No older list may arrive after a newer one.
        async with self._telling:
            if not again and await self._knows(workspace):
                return  # somebody told it meanwhile
            people = await self._db.tx(self._begin, workspace, durable=False)
            # Until what was told is what is so: another node may have told something older.
            while True:
                await self._agent.set_deciders(workspace, people, by)
                told_people = people
                people = await self._db.tx(self._begin, workspace, durable=False)
                if people == told_people:
                    break
            await self._db.tx(self._keep, workspace, _mark(people), durable=False)
            self._told.add(workspace)

    async def changed(self, workspace: str, by: str) -> None:
        """Tell of a change that is stored. Raises `ServiceError`: where the service is away, in
        words that say that the change holds."""
        try:
            await self.tell(workspace, by, again=True)
        except (errors.Unavailable, errors.Overloaded) as error:
            log.warning("change of deciders not told yet", workspace=workspace, error=str(error))
            raise errors.Unavailable(
                "The change is stored and holds: who may not decide any more is refused here. The "
                "agent service does not answer now; it hears of it as soon as it does, and before "
                "the next turn in this workspace."
            ) from error

    async def catch_up(self) -> None:
        """Tell of every change that somebody tried to tell in vain. Raises `Unavailable` or
        `Overloaded` where it is still in vain."""
        for workspace in await self._db.tx(_untold, durable=False):
            try:
                await self.tell(workspace, TELLER, again=True)
            except (errors.Unavailable, errors.Overloaded):
                raise
            except errors.ServiceError as error:
                log.warning("change of deciders refused", workspace=workspace, error=str(error))

    async def _knows(self, workspace: str) -> bool:
        """Whether this process told it, and nothing has changed since."""
        if workspace not in self._told:
            return False
        people, told = await self._db.tx(self._stand, workspace, durable=False)
        return told == _mark(people)

    def _begin(self, con: sa.Connection, workspace: str) -> tuple[str, ...]:
        """The people to tell; from here on nobody takes an older list for what it knows."""
        people, told = self._stand(con, workspace)
        if told is None or told not in (_UNTOLD, _mark(people)):
            self._keep(con, workspace, _UNTOLD)
        return people

    def _stand(self, con: sa.Connection, workspace: str) -> tuple[tuple[str, ...], int | None]:
        """(who decides, the mark of what was told if anything ever was)."""
        told = con.scalar(sa.select(cursor.c.value).where(cursor.c.name == _NAME + workspace))
        return tuple(of(con, workspace)), told

    def _keep(self, con: sa.Connection, workspace: str, mark: int) -> None:
        fresh = self._db.insert(cursor).values(name=_NAME + workspace, value=mark)
        con.execute(
            fresh.on_conflict_do_update(
                index_elements=[cursor.c.name], set_={"value": fresh.excluded.value}
            )
        )


def _untold(con: sa.Connection) -> list[str]:
    query = sa.select(cursor.c.name).where(
        cursor.c.name.startswith(_NAME, autoescape=True), cursor.c.value == _UNTOLD
    )
    return [name.removeprefix(_NAME) for name in con.scalars(query)]


def _mark(people: tuple[str, ...]) -> int:
    """Tells two lists apart; never `_UNTOLD`."""
    return int.from_bytes(hashlib.sha256("\n".join(people).encode()).digest()[:7]) | 1
