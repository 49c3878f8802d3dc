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

    shared: bool
    """Whether other bridge processes may have it open at the same time."""

    def __init__(self) -> None:
        self._prepared: dict[Any, Any] = {}
        self.deaf = ""
        """Why hints of other nodes are not heard; empty while they are."""

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
        """Connect. Raises `StoreUnusable` or `StoreTrouble`, with nothing left open."""

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
        Raises `StoreTrouble`: later calls may work. After `StoreFull` nothing was stored; after
        `StoreAway` it may have been. A cancelled call may have been committed.
        `fn` may be called more than once, each time on nothing of the time before: it does
        nothing but read and write on its connection.
        """

    @abstractmethod
    async def tell(self, hint: str) -> None:
        """Tell every process that has the database open. Lost at times: rows are the truth, and
        whoever waits for a hint also looks by itself. Never raises."""

    @abstractmethod
    def listen(self, heard: Callable[[str], None]) -> None:
        """From now until `close`, `heard` is called with hints; with an empty one where some may
        have been lost. Once after `open`."""

    @abstractmethod
    def maintenance(self, *, alone: bool) -> AbstractContextManager[sa.Connection]:
        """One transaction on a database that is not open here, for migrations and checks.

        `alone`: nobody else has it meanwhile; raises `StoreBusy` where somebody has.
        Raises `StoreUnusable` where it cannot be used, `StoreTrouble` where later it may.
        """

    @abstractmethod
    def require_alone(self, connection: sa.Connection) -> None:
        """In a `maintenance(alone=True)`: raises `StoreBusy` while a bridge has it open."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What an operator knows it by; holds no password."""

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether there is something to connect to, or to be damaged. Raises as `maintenance`."""
