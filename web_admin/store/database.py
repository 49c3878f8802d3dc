"""The web admin's SQLite database.

StoreError
├── StoreFull      no room on the disk; nothing was stored, and it works again once there is
└── StoreUnusable  locked by another process, made by a newer release, or damaged
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from web_admin.store import migrations

P = ParamSpec("P")
T = TypeVar("T")
RESTORE = "Restore a backup of it, or move it away to begin with an empty one."
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


class StoreError(Exception):
    """`remedy` says what an operator can do."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class StoreFull(StoreError):
    pass


class StoreUnusable(StoreError):
    pass


def engine_for(path: Path) -> sa.Engine:
    """An engine for one connection; the file is made for its own user only. Raises OSError."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    engine = sa.create_engine(f"sqlite:///{path}", pool_size=1, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        # The driver's own transactions would start a write too late to queue for the lock.
        connection.isolation_level = None
        cursor = connection.cursor()
        # FULL: a used link or an ended session must not come back after a power cut.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class Database:
    """One thread; a transaction is one synchronous function."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="admin-store")
        self._engine: sa.Engine | None = None
        self._lock: int | None = None

    async def open(self) -> None:
        """Lock the file, bring its tables up to date. Raises `StoreError`."""
        await self._in_thread(self._open)

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._not_ours(error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StoreUnusable(
                f"Another web admin uses {self._path}.",
                remedy="Stop it, or give this one another BASCULE_HOME.",
            ) from None
        self._lock = lock
        try:
            self._engine = engine_for(self._path)
            migrations.upgrade(self._engine)
        except OSError as error:
            raise self._not_ours(error) from None
        except migrations.TooNew as error:
            raise StoreUnusable(str(error), remedy=error.remedy) from None
        except sa.exc.DatabaseError as error:
            if _is_full(error):
                raise
            raise StoreUnusable(
                f"{self._path} cannot be used: {error.orig}.", remedy=RESTORE
            ) from None

    def _not_ours(self, error: OSError) -> StoreError:
        return StoreUnusable(
            f"{self._path.parent} cannot be written to: {os.strerror(error.errno or 0)}.",
            remedy="Give it to the user that runs Bascule, free space, or choose another "
            "BASCULE_HOME.",
        )

    async def tx(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What `fn(connection, …)` returns, committed; nothing of it where it raises.

        Raises `StoreFull` when there is no room. Cancelling the caller does not undo a transaction
        that has begun.
        """
        return await self._in_thread(lambda: self._transaction(lambda c: fn(c, *args, **kwargs)))

    def _transaction(self, fn: Callable[[sa.Connection], T]) -> T:
        if self._engine is None:
            raise StoreUnusable("The web admin's database is not open.")
        with self._engine.begin() as connection:
            return fn(connection)

    async def _in_thread(self, fn: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, fn)
        except sa.exc.DatabaseError as error:
            if _is_full(error):
                raise StoreFull(
                    "There is no room on the disk of the web admin.",
                    remedy="Free space where BASCULE_HOME is, then try again.",
                ) from error
            raise

    async def close(self) -> None:
        """After the transactions handed over so far. Safe to call twice."""
        if self._engine is not None:
            await self._in_thread(self._engine.dispose)
            self._engine = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._thread.shutdown(wait=False)


def _is_full(error: sa.exc.DatabaseError) -> bool:
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _FULL
