"""What the bridge needs of a database: one transaction is one synchronous function.

One class a dialect stands behind these names (`bridge.store.dialects` picks it by the URL); all
else in the bridge, and the contract test of the store, know only them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias, TypeVar, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
S = TypeVar("S")
Ts = TypeVarTuple("Ts")
Insert: TypeAlias = sqlite.Insert | postgresql.Insert


class Database(ABC):
    """A database by its URL. `await open()` first; harmless to close twice."""

    now: sa.ColumnElement[float]
    """Seconds since the epoch by the database's clock, not this process's: leases of several
    nodes must agree."""

    def __init__(self) -> None:
        self._prepared: dict[Any, Any] = {}

    def prepared(self, build: Callable[[Database], S]) -> S:
        """`build(self)`, built once: to compose a statement costs more than to run it."""
        if build not in self._prepared:
            self._prepared[build] = build(self)
        made: S = self._prepared[build]
        return made

    @abstractmethod
    def insert(self, table: sa.Table) -> Insert:
        """An INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises `StoreBusy`, `StoreUnusable` or `StoreFull`, with nothing left open."""

    @abstractmethod
    async def close(self) -> None:
        """After the transactions handed over so far."""

    @abstractmethod
    async def tx(
        self, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts, durable: bool = True
    ) -> T:
        """What `fn(connection, *args)` returns, committed; nothing of it where it raises.

        `durable`: on the disk when this returns. Otherwise it survives the death of the process
        and may be lost in a power cut, together with everything after it.
        Raises `StoreFull` when there is no room: nothing was stored, and later calls may work.
        A cancelled call may have been committed.
        """

    @abstractmethod
    def maintenance(self, *, alone: bool) -> AbstractContextManager[sa.Connection]:
        """One transaction on a database that is not open here, for migrations and checks.

        `alone`: nobody else has it meanwhile; raises `StoreBusy` where somebody has.
        Raises `StoreUnusable` where it cannot be used, `StoreFull` where there is no room.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """What an operator knows it by; holds no password."""

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether there is something to connect to, or to be damaged."""
