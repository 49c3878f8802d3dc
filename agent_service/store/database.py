"""The agent service's SQLite database.

StoreError
├── StoreFull      no room on the disk; nothing was stored, and it works again once there is
└── StoreUnusable  locked by another process, made by a newer release, or damaged
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from agent_service.store import migrations

P = ParamSpec("P")
T = TypeVar("T")


class StoreError(Exception):
    """`remedy` says what an operator can do."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class StoreFull(StoreError):
    pass


class StoreUnusable(StoreError):
    pass


BUSY_MS = 10_000
RESTORE = "Restore a backup of it, or move it away to begin with an empty one."
_FULL = ("database or disk is full", "disk i/o error", "no space left")


def _is_full(error: Exception) -> bool:
    return any(word in str(error).lower() for word in _FULL)


def engine_for(path: Path) -> sa.Engine:
    """An engine with the pragmas that every connection to this database needs.

    The file is made for its own user only; what SQLite makes beside it then is so too.
    """
    path.touch(mode=0o600)
    path.chmod(0o600)
    engine = sa.create_engine(f"sqlite:///{path}", pool_size=1, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        # The driver's own transactions would start a write too late to queue for the lock.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            f"busy_timeout={BUSY_MS}",
            "secure_delete=ON",  # what a sealed key is replaced by takes its bytes
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def look(path: Path) -> None:
    """Read a database, changing nothing, also beside a service that uses it.

    Raises `StoreUnusable` where it is damaged or no database, `TooNew` for a newer release's.
    """
    engine = sa.create_engine(f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true")
    try:
        with engine.connect() as connection:
            migrations.check(connection)
            connection.exec_driver_sql("PRAGMA quick_check").all()
    except (sa.exc.DatabaseError, OSError) as error:
        why = error.orig if isinstance(error, sa.exc.DatabaseError) else error
        raise StoreUnusable(f"{path} cannot be used: {why}.", remedy=RESTORE) from None
    finally:
        engine.dispose()


class Database:
    """One writer thread; a transaction is one synchronous function.

    `synchronous=NORMAL` in WAL mode: a killed process loses nothing, a power cut may lose the
    last commits. The bridge's own message is durable before, and asks for the turn again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="agent-store")
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._lock: int | None = None

    async def open(self) -> None:
        """Lock the file, bring its tables up to date. Raises `StoreUnusable` or `StoreFull`."""
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
                f"Another agent service uses {self._path}.",
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
                f"{self._path} cannot be used: {error.orig}.",
                remedy=RESTORE,
            ) from None

    def _not_ours(self, error: OSError) -> StoreError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreFull(
                f"There is no room for {self._path}.", remedy="Free space, then start again."
            )
        return StoreUnusable(
            f"{self._path.parent} cannot be written to: {os.strerror(error.errno or 0)}.",
            remedy="Give it to the user that runs the service, or choose another BASCULE_HOME.",
        )

    async def tx(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn(connection, …)` in one transaction. Calls are carried out in their order.

        Raises `StoreFull` when there is no room; the transaction then left nothing behind.
        Cancelling the caller does not undo a transaction that has begun.
        """
        return await self._in_thread(lambda: self._transaction(lambda c: fn(c, *args, **kwargs)))

    def _transaction(self, fn: Callable[[sa.Connection], T]) -> T:
        if self._engine is None:
            raise StoreUnusable("The database is not open.")
        if self._connection is None:
            # Kept open: to check one out costs more than most transactions do.
            self._connection = self._engine.connect()
        try:
            with self._connection.begin():
                return fn(self._connection)
        except sa.exc.DBAPIError:
            # After a failed write the connection's own state is not worth trusting.
            self._disconnect()
            raise

    async def forget_log(self) -> None:
        """Bring the write-ahead log into the file and empty it: what was overwritten before is in
        neither then. Where somebody reads meanwhile, a later commit or `close` does it."""
        await self._in_thread(self._forget_log)

    def _forget_log(self) -> None:
        if self._connection is None:
            return
        raw = self._connection.connection.cursor()
        try:
            # Nobody waits for a reader here.
            raw.execute("PRAGMA busy_timeout=0")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raw.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        finally:
            raw.close()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    async def _in_thread(self, fn: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, fn)
        except (sa.exc.OperationalError, sa.exc.DatabaseError, OSError) as error:
            if _is_full(error):
                raise StoreFull(
                    "There is no room on the agent service's disk.",
                    remedy="An operator has to free space, then send it again.",
                ) from error
            raise

    async def close(self) -> None:
        """Finish what has begun and unlock the file. Safe to call twice."""
        if self._engine is not None:
            await self._in_thread(self._disconnect)
            await self._in_thread(self._engine.dispose)
            self._engine = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._thread.shutdown(wait=False)
