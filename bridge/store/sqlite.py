"""The bridge's database on SQLite: one file, one process, one thread."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite

from bridge.store.database import Database
from bridge.store.errors import StoreAway, StoreBusy, StoreFull, StoreTrouble, StoreUnusable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_AWAY = {
    sqlite3.SQLITE_BUSY: (
        "Another program holds the bridge's database.",
        "End what else has the file open: a backup, or a shell with a transaction begun.",
    ),
    sqlite3.SQLITE_LOCKED: (
        "The bridge's database is locked.",
        "End what else has the file open.",
    ),
    sqlite3.SQLITE_READONLY: (
        "The bridge's database cannot be written.",
        "Look at its file's permissions, and whether its disk is mounted read-only.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "The bridge's database cannot be opened.",
        "Look at its folder's permissions, and whether its disk is mounted.",
    ),
}
"""What may pass: it says so, and later calls may work."""
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NOW = "((julianday('now') - 2440587.5) * 86400.0)"


def sqlite_path(url: sa.URL) -> Path:
    """The file of an SQLite URL. Raises `StoreUnusable` where it names none."""
    if not url.database or url.database == ":memory:":
        raise StoreUnusable("BRIDGE_DATABASE_URL: names no file; messages must survive a restart.")
    return Path(url.database).absolute()


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


class SqliteDatabase(Database):
    """Transactions all in one thread, one after another: to hop between threads costs more than
    most of them do."""

    shared = False

    def __init__(self, url: sa.URL) -> None:
        """Nothing is opened yet. Raises `StoreUnusable` for a URL without a file."""
        super().__init__()
        self.now = sa.literal_column(_NOW, sa.Double)
        self._path = sqlite_path(url)
        self._lock = FileLock(self._path)
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._durable: bool | None = None
        self._thread: ThreadPoolExecutor | None = None

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def exists(self) -> bool:
        return self._path.exists()

    def insert(self, table: sa.Table) -> sqlite.Insert:
        return sqlite.insert(table)

    async def open(self) -> None:
        self._lock.take()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bridge-store")
        self._engine = connect(self._path)
        try:
            await self.tx(lambda con: con.execute(sa.text("SELECT 1")).scalar())
            self._path.chmod(0o600)
        except sa.exc.DatabaseError as error:
            await self.close()
            raise self._failure(error) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown(wait=False)
        self._lock.drop()

    async def tx(
        self, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts, durable: bool = True
    ) -> T:
        if self._thread is None:
            raise StoreUnusable("The bridge's database is not open.")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._run, fn, args, durable)

    async def tell(self, hint: str) -> None:
        """Nobody else is there."""

    def listen(self, heard: Callable[[str], None]) -> None:
        """Nobody else tells anything."""

    def require_alone(self, connection: sa.Connection) -> None:
        """The lock that `maintenance` holds says so already."""

    @contextmanager
    def maintenance(self, *, alone: bool) -> Iterator[sa.Connection]:
        if alone:
            self._lock.take()
        try:
            engine = connect(self._path)
            try:
                with engine.begin() as connection:
                    yield connection
            except sa.exc.DatabaseError as error:
                raise self._failure(error) from None
            finally:
                engine.dispose()
        finally:
            if alone:
                self._lock.drop()

    def _run(self, fn: Callable[[sa.Connection, *Ts], T], args: tuple[*Ts], durable: bool) -> T:
        try:
            connection = self._connected(durable)
            with connection.begin():
                return fn(connection, *args)
        except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
            trouble = _trouble(error)
            if trouble is None:
                raise
            # After a failed write the connection's own state is not worth trusting.
            self._disconnect(dispose=False)
            raise trouble from error

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

    def _failure(self, error: sa.exc.DatabaseError) -> Exception:
        code = _code(error.orig)
        if code in _NO_ROOM or code == sqlite3.SQLITE_BUSY:
            return _trouble(error) or error
        if code in _DAMAGED:
            return StoreUnusable(
                f"{self._path} is damaged ({error.orig}): restore a backup, or move the file away "
                "to begin with an empty one."
            )
        return StoreUnusable(f"{self._path} cannot be used: {error.orig}.")


def _trouble(error: Exception) -> StoreTrouble | None:
    """What may work later."""
    code = _code(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
    if code in _NO_ROOM:
        return StoreFull()
    if code in _AWAY:
        message, remedy = _AWAY[code]
        return StoreAway(message, remedy=remedy)
    return None


def _code(error: BaseException | None) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
