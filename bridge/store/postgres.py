"""The bridge's database on PostgreSQL: many processes, one transaction a pooled connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

import psycopg
import sqlalchemy as sa
import structlog
from psycopg.types.string import StrDumper
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bridge.store.database import Database
from bridge.store.errors import StoreAway, StoreBusy, StoreFull, StoreTrouble, StoreUnusable

log = structlog.get_logger()
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

OLDEST = 13
CONNECTIONS = 5
"""Of each of the two pools; one more listens. So a bridge has 11 at most."""
CHANNEL = "bascule"
CONNECT_SECONDS = 5
TRIES = 5
MIGRATING, RUNNING = 0x62617363_0001, 0x62617363_0002
"""Advisory locks: one migration at a time, and none while a bridge runs."""

_NOW = "extract(epoch from clock_timestamp())::float8"
# A process that sleeps in the middle of a transaction must not keep its locks for long.
_LIMITS = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "5s",
}
_CONNECT = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "bascule bridge",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_SERIALIZATION = {"40001", "40P01"}
_DUPLICATE = "23505"
_NO_ROOM = "53100"
_READ_ONLY = "25006"


class _NoNul(StrDumper):
    """PostgreSQL's texts cannot hold the character NUL, which people may send."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd"))


class PostgresDatabase(Database):
    """Transactions side by side, each on a connection of a pool. What must be on the disk when it
    returns has a pool of its own, so that it never waits behind what need not."""

    shared = True

    def __init__(self, url: sa.URL) -> None:
        """Nothing is opened yet. Raises `StoreUnusable` for a URL that names no database."""
        super().__init__()
        if url.drivername not in ("postgres", "postgresql", "postgresql+psycopg"):
            raise StoreUnusable(
                "BRIDGE_DATABASE_URL: names another driver; begin it with postgresql://."
            )
        if not url.database:
            raise StoreUnusable("BRIDGE_DATABASE_URL: names no database.")
        if "password" in url.query:
            raise StoreUnusable("BRIDGE_DATABASE_URL: put the password before the @, not behind ?.")
        self.now = sa.literal_column(_NOW, sa.Double)
        self._url = url.set(drivername="postgresql+psycopg")
        self._pools: dict[bool, AsyncEngine] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._ear: psycopg.AsyncConnection[Any] | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        host = self._url.host or self._url.query.get("host", "this machine")
        return f"The PostgreSQL database {self._url.database} at {host}"

    @property
    def exists(self) -> bool:
        with self.maintenance(alone=False) as connection:
            return sa.inspect(connection).has_table("alembic_version")

    def insert(self, table: sa.Table) -> postgresql.Insert:
        return postgresql.insert(table)

    async def open(self) -> None:
        for durable in (True, False):
            self._pools[durable] = self._pool(durable)
        try:
            self._ear = await self._connected_ear()
        except psycopg.Error as error:
            await self.close()
            raise self._unusable(error) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None
        pools, self._pools = self._pools, {}
        if self._running:
            await asyncio.wait(self._running)
        for pool in pools.values():
            await pool.dispose()
        if self._ear is not None:
            await self._ear.close()
            self._ear = None

    async def tx(
        self, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts, durable: bool = True
    ) -> T:
        if durable not in self._pools:
            raise StoreUnusable("The bridge's database is not open.")
        # In a task of its own: a connection that is given up in its middle has to be thrown away.
        task = asyncio.create_task(self._run(self._pools[durable], fn, args))
        self._running.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone

    async def _run(
        self, pool: AsyncEngine, fn: Callable[[sa.Connection, *Ts], T], args: tuple[*Ts]
    ) -> T:
        tries = 0
        while True:
            tries += 1
            committing = False
            try:
                async with pool.connect() as connection:
                    made = await connection.run_sync(fn, *args)
                    committing = True
                    await connection.commit()
                return made
            except sa.exc.DBAPIError as error:
                if tries >= TRIES or not _may_work_again(error, committing):
                    raise self._trouble(error) or error from None
            except sa.exc.TimeoutError:
                raise StoreAway(
                    f"{self.name} is too slow: no connection came free.",
                    remedy="Look at the load of the database server.",
                ) from None
            await asyncio.sleep(random.uniform(0, 0.01) * 2**tries)  # noqa: S311 - a pause

    async def tell(self, hint: str) -> None:
        say = sa.select(sa.func.pg_notify(CHANNEL, hint))
        try:
            await self.tx(lambda con: con.execute(say).first(), durable=False)
        except Exception as error:  # noqa: BLE001 - it is a hint
            log.debug("others not told", hint=hint, error=str(error))

    def listen(self, heard: Callable[[str], None]) -> None:
        self._listening = asyncio.create_task(self._listen(heard))

    async def _listen(self, heard: Callable[[str], None]) -> None:
        pause = 0.1
        while True:
            try:
                if self._ear is None:
                    self._ear = await self._connected_ear()
                    heard("")
                self.deaf, pause = "", 0.1
                async for notice in self._ear.notifies():
                    heard(notice.payload)
            except (psycopg.Error, OSError, StoreUnusable, StoreTrouble) as error:
                self.deaf = "Hints of other nodes are not heard."
                log.warning("hints of other nodes not heard, connecting again", error=_line(error))
            except Exception:
                self.deaf = "Hints of other nodes are not heard."
                log.exception("hints of other nodes not heard, connecting again")
            if self._ear is not None:
                ear, self._ear = self._ear, None
                await ear.close()
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _connected_ear(self) -> psycopg.AsyncConnection[Any]:
        """A connection for hints. As long as it lasts nobody migrates the database."""
        ear = await psycopg.AsyncConnection.connect(**self._arguments(), autocommit=True)
        try:
            cursor = await ear.execute(
                "SELECT current_setting('server_encoding'), pg_is_in_recovery()"
            )
            encoding, standby = await cursor.fetchone() or ("", False)
            self._check_server(ear.info.server_version, encoding, standby)
            await ear.execute("SELECT pg_advisory_lock_shared(%s)", [RUNNING])
            await ear.execute(f"LISTEN {CHANNEL}")
        except BaseException:
            await ear.close()
            raise
        return ear

    @contextmanager
    def maintenance(self, *, alone: bool) -> Iterator[sa.Connection]:
        engine = sa.create_engine(self._url, connect_args=_CONNECT, poolclass=sa.NullPool)
        _texts_without_nul(engine)
        try:
            with engine.begin() as connection:
                version = connection.connection.driver_connection.info.server_version  # type: ignore[union-attr]
                query = sa.text("SELECT current_setting('server_encoding'), pg_is_in_recovery()")
                encoding, standby = connection.execute(query).one()
                self._check_server(version, encoding, standby)
                if alone:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATING)))
                yield connection
        except sa.exc.DBAPIError as error:
            raise self._trouble(error, opening=True) or self._unusable(error.orig) from None
        finally:
            engine.dispose()

    def require_alone(self, connection: sa.Connection) -> None:
        if not connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(RUNNING))):
            raise StoreBusy(
                f"Another bridge is running on {self.name[0].lower()}{self.name[1:]}, and its "
                "tables have to be changed: stop every bridge of an older release first."
            )

    def _pool(self, durable: bool) -> AsyncEngine:
        pool = create_async_engine(
            self._url,
            connect_args=self._arguments(synchronous_commit="on" if durable else "off", bare=True),
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=10,
        )
        _texts_without_nul(pool.sync_engine)
        return pool

    def _arguments(self, *, bare: bool = False, **settings: str) -> dict[str, Any]:
        options = " ".join(f"-c {name}={value}" for name, value in (_LIMITS | settings).items())
        given = self._url.query.get("options", "")
        mine = {**_CONNECT, "options": f"{given} {options}".strip()}
        if bare:
            return mine
        dialect = self._url.get_dialect()()
        _, arguments = dialect.create_connect_args(self._url)
        return {**arguments, **mine}

    def _check_server(self, version: int, encoding: str, standby: bool) -> None:
        if version < OLDEST * 10_000:
            raise StoreUnusable(
                f"{self.name} is PostgreSQL {version // 10_000}; {OLDEST} is the oldest that works."
            )
        if encoding != "UTF8":
            raise StoreUnusable(
                f"{self.name} keeps texts as {encoding}: make one with "
                f"CREATE DATABASE {self._url.database} ENCODING 'UTF8' TEMPLATE template0."
            )
        if standby:
            raise StoreAway(
                f"{self.name} is a standby, where nothing can be written.",
                remedy="Name the primary in BRIDGE_DATABASE_URL.",
            )

    def _trouble(
        self, error: sa.exc.DBAPIError, *, opening: bool = False
    ) -> StoreFull | StoreAway | None:
        """What may go away by itself; None for anything else."""
        state = getattr(error.orig, "sqlstate", None) or ""
        if state == _NO_ROOM:
            return StoreFull(
                "There is no room on the database server's disk.",
                "Make room on the disk of the database server.",
            )
        if state == _READ_ONLY:
            return StoreAway(
                f"{self.name} does not let anything be written.",
                remedy="Name the primary in BRIDGE_DATABASE_URL.",
            )
        passing = state[:2] in ("53", "57", "58") or state[:2] == "08" or state == "55P03"
        lost = isinstance(error.orig, psycopg.OperationalError) and not state
        if passing or (not opening and (error.connection_invalidated or lost)):
            return StoreAway(
                f"{self.name} does not answer ({_line(error.orig)}).",
                remedy="Look whether the database server runs.",
            )
        return None

    def _unusable(self, error: BaseException | None) -> StoreUnusable | StoreAway:
        """Why no connection can be had, in words. The server's own hold no password."""
        said = _line(error)
        if "password" in said or "authentication" in said or "pg_hba" in said:
            return StoreUnusable(
                f"{self.name} refuses user {self._url.username or '(none named)'}: look at the "
                f"user and the password in BRIDGE_DATABASE_URL ({said})."
            )
        if "does not exist" in said:
            return StoreUnusable(
                f"{self.name} cannot be used ({said}): make it with `createdb`, or look at "
                "BRIDGE_DATABASE_URL."
            )
        if "ermission denied" in said:
            return StoreUnusable(
                f"{self.name} does not let user {self._url.username} make tables ({said}): make "
                "that user the database's owner."
            )
        if isinstance(error, psycopg.OperationalError):
            return StoreAway(
                f"{self.name} does not answer ({said}).",
                remedy="Start the database server, or look at BRIDGE_DATABASE_URL.",
            )
        return StoreUnusable(f"{self.name} cannot be used: {said}.")


def _texts_without_nul(engine: sa.Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        raw = getattr(connection, "driver_connection", connection)
        raw.adapters.register_dumper(str, _NoNul)


def _may_work_again(error: sa.exc.DBAPIError, committing: bool) -> bool:
    """Whether nothing of it was stored, and the reason may be gone already."""
    state = getattr(error.orig, "sqlstate", None)
    if state in _SERIALIZATION or state == _DUPLICATE:
        return True  # two nodes did the same at once; the second now sees what the first did
    return error.connection_invalidated and not committing


def _line(error: BaseException | None) -> str:
    """The first line of what the server or the library says."""
    return (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
