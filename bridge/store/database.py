"""The bridge's database: one transaction is one synchronous function."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite

from bridge.store.errors import StoreBusy, StoreFull, StoreUnusable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
# The database's clock, not this process's: leases of several nodes must agree.
_SQLITE_NOW = "((julianday('now') - 2440587.5) * 86400.0)"


def sqlite_path(url: str) -> Path:
    """The file of an SQLite URL. Raises `StoreUnusable` for any other URL."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StoreUnusable("BRIDGE_DATABASE_URL: is not a database URL.") from None
    if parsed.get_backend_name() != "sqlite":
        raise StoreUnusable(
            f"BRIDGE_DATABASE_URL: {parsed.get_backend_name()} is not supported yet; use SQLite."
        )
    if not parsed.database or parsed.database == ":memory:":
        raise StoreUnusable("BRIDGE_DATABASE_URL: names no file; messages must survive a restart.")
    return Path(parsed.database).absolute()


def connect(path: Path) -> sa.Engine:
    """An engine for one connection, with the pragmas every connection needs."""
    engine = sa.create_engine(f"sqlite:///{path}", pool_size=1, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin a transaction without the write lock, and fail in its middle.
        connection.isolation_level = None
        for pragma in ("busy_timeout=10000", "journal_mode=WAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class FileLock:
    """One process a database. The kernel releases it with the process, however that ends."""

    def __init__(self, database: Path) -> None:
        # A file beside it: closing a second descriptor of the database would drop SQLite's locks.
        self._path = database.with_name(database.name + ".lock")
        self._fd = -1

    def take(self) -> None:
        """Raises `StoreBusy` when another process, or another lock of this one, has it."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise StoreUnusable(f"The bridge cannot write in {self._path.parent}: {why}.") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise StoreBusy(
                f"Another bridge is running on {self._path.with_suffix('')}: stop it first, or "
                "give this one a BASCULE_HOME of its own."
            ) from None
        self._fd = fd

    def drop(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Database:
    """Transactions on SQLite, all in one thread, one after another."""

    def __init__(self, url: str) -> None:
        """`url` is SQLAlchemy's. Nothing is opened yet. Raises `StoreUnusable` for a bad one."""
        self._path = sqlite_path(url)
        self._lock = FileLock(self._path)
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._durable: bool | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bridge-store")
        self.now: sa.ColumnElement[float] = sa.literal_column(_SQLITE_NOW, sa.Double)
        """Seconds since the epoch by the database's clock."""

    def insert(self, table: sa.Table) -> sqlite.Insert:
        """An INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
        return sqlite.insert(table)

    async def open(self) -> None:
        """Lock the file and connect. Raises `StoreBusy` or `StoreUnusable`."""
        self._lock.take()
        try:
            self._engine = connect(self._path)
            await self.tx(lambda con: con.execute(sa.text("SELECT 1")).scalar())
        except StoreFull:
            self._lock.drop()
            raise
        except sa.exc.DatabaseError as error:
            self._lock.drop()
            raise StoreUnusable(f"{self._path} cannot be opened: {error.orig}.") from None

    async def close(self) -> None:
        """After the transactions handed over so far. Harmless when not open."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)
        self._lock.drop()

    async def tx(
        self, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts, durable: bool = True
    ) -> T:
        """What `fn(connection, *args)` returns, committed; nothing of it where it raises.

        `durable`: on the disk when this returns. Otherwise it survives the death of the process
        and may be lost in a power cut, together with everything after it.
        Raises `StoreFull` when there is no room: nothing was stored, and later calls may work.
        A cancelled call may have been committed.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._run, fn, args, durable)

    def _run(self, fn: Callable[[sa.Connection, *Ts], T], args: tuple[*Ts], durable: bool) -> T:
        try:
            connection = self._connected(durable)
            with connection.begin():
                return fn(connection, *args)
        except sa.exc.OperationalError as error:
            if _code(error.orig) in _NO_ROOM:
                # After a failed write the connection's own state is not worth trusting.
                self._disconnect(dispose=False)
                raise StoreFull from error
            raise

    def _connected(self, durable: bool) -> sa.Connection:
        if self._engine is None:
            raise StoreUnusable("The bridge's database is not open.")
        if self._connection is None:
            self._connection = self._engine.connect()
            self._durable = None
        if durable is not self._durable:
            # It cannot change inside a transaction.
            raw: Any = self._connection.connection.driver_connection
            raw.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        return self._connection

    def _disconnect(self, dispose: bool = True) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
        if dispose and self._engine is not None:
            self._engine.dispose()
            self._engine = None


def _code(error: BaseException | None) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
