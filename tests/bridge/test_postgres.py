"""PostgreSQL when something about it is not as it should be: words for whoever can act."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from bridge.commands.checks import _database
from bridge.settings import BridgeSettings
from bridge.store.dialects import database_at
from bridge.store.errors import (
    SchemaTooNew,
    StoreAway,
    StoreBusy,
    StoreFull,
    StoreTrouble,
    StoreUnusable,
)
from bridge.store.migrate import check, migrate
from bridge.store.schema import metadata, seen
from tests.bridge.house import until
from tests.bridge.postgres import Postgres

HEAD = "SELECT version_num FROM alembic_version"


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[str]:
    """A database without tables."""
    with postgres.database("template1") as url:
        yield url


def name(url: str) -> str:
    return sa.make_url(url).database


def refused(url: str) -> Exception:
    """What `migrate` and `open` say, which is the same."""
    found = []
    for attempt in (lambda: migrate(url), lambda: asyncio.run(database_at(url).open())):
        with pytest.raises((StoreUnusable, StoreTrouble)) as caught:
            attempt()
        found.append(caught.value)
    assert str(found[0]) == str(found[1])
    assert type(found[0]) is type(found[1])
    return found[0]


def test_the_tables_are_those_of_the_schema(empty):
    """Migrating from nothing gives exactly the tables and indexes that the code works with."""
    revision = migrate(empty)
    assert migrate(empty) == revision
    check(empty)
    with database_at(empty).maintenance(alone=True) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == revision


def test_nodes_that_start_together(empty):
    """Several processes that migrate an empty database at once all find it made."""
    program = f"from bridge.store.migrate import migrate; migrate({empty!r})"
    at_once = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    assert [process.wait() for process in at_once] == [0, 0, 0, 0]
    check(empty)


async def test_no_change_of_tables_under_a_running_bridge(postgres, postgres_url):
    """A release with other tables does not change them while a bridge of an older one runs; one
    with the same tables just starts."""
    first = database_at(postgres_url)
    await first.open()
    await asyncio.to_thread(migrate, postgres_url)
    postgres.sql("UPDATE alembic_version SET version_num = '0001'", database=name(postgres_url))
    with pytest.raises(StoreBusy, match="stop every bridge of an older release"):
        await asyncio.to_thread(migrate, postgres_url)
    await first.close()


def test_a_newer_one_is_left_alone(postgres, postgres_url):
    """A database of a newer release is refused with what to do."""
    postgres.sql("UPDATE alembic_version SET version_num = '9999'", database=name(postgres_url))
    for step in (migrate, check):
        with pytest.raises(SchemaTooNew, match=r"newer release .*9999.*: install that release"):
            step(postgres_url)


def test_none_there(postgres):
    """A database that does not exist is named, with how to make it."""
    error = refused(postgres.url("nobody_made_it"))
    assert isinstance(error, StoreUnusable)
    assert "nobody_made_it" in str(error)
    assert "createdb" in str(error)


def test_nobody_answers(tmp_path):
    """A server that is not up may be up later: it is no mistake of the settings."""
    error = refused(f"postgresql://u:hidden-word@/d?host={tmp_path}")
    assert isinstance(error, StoreAway)
    assert "does not answer" in str(error)
    assert "Start the database server" in error.remedy
    assert "hidden-word" not in str(error)


def test_a_wrong_password(postgres, postgres_url):
    """A refused password is told by the name of its user, and never shown."""
    hba = postgres.folder / "data" / "pg_hba.conf"
    before = hba.read_text()
    postgres.sql("CREATE ROLE guarded LOGIN PASSWORD 'right-word'")
    try:
        hba.write_text("local all guarded scram-sha-256\n" + before)
        postgres.sql("SELECT pg_reload_conf()")
        wrong = postgres_url.replace("bascule@", "guarded:wrong-word@")
        error = refused(wrong)
    finally:
        hba.write_text(before)
        postgres.sql("SELECT pg_reload_conf()")
    assert isinstance(error, StoreUnusable)
    assert "refuses user guarded" in str(error)
    assert "wrong-word" not in str(error)


def test_another_encoding(postgres):
    """A database that cannot hold every text is refused, with the statement that makes one."""
    postgres.sql("CREATE DATABASE narrow ENCODING 'LATIN1' TEMPLATE template0")
    error = refused(postgres.url("narrow"))
    assert isinstance(error, StoreUnusable)
    assert "ENCODING 'UTF8'" in str(error)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", StoreFull),
        ("53300", StoreAway),
        ("57P03", StoreAway),
        ("25006", StoreAway),
        ("55P03", StoreAway),
    ],
)
async def test_what_may_pass(postgres_url, state, kind):
    """What the server says is passing is told as such: a platform delivers it again."""
    db = database_at(postgres_url)
    await db.open()
    fail = sa.text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")
    with pytest.raises(kind) as caught:
        await db.tx(lambda con: con.execute(fail))
    assert caught.value.remedy
    await db.close()


@pytest.mark.parametrize("state", ["40001", "40P01", "23505"])
async def test_what_is_tried_again(postgres_url, state):
    """Where two nodes got in each other's way, the loser tries again by itself, on nothing of
    what it wrote before."""
    db = database_at(postgres_url)
    await db.open()
    tries = []

    def fn(con: sa.Connection) -> str:
        con.execute(seen.insert().values(key=f"try {len(tries)}", at=db.now))
        tries.append(1)
        if len(tries) < 3:
            con.execute(
                sa.text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")
            )
        return "made"

    assert await db.tx(fn) == "made"
    keys = await db.tx(lambda con: con.scalars(sa.select(seen.c.key)).all())
    assert keys == ["try 2"]
    await db.close()


async def test_lost_connections(postgres, postgres_url):
    """Connections that the server dropped are made anew; a transaction they were lost in is done
    once; hints are heard again."""
    db = database_at(postgres_url)
    await db.open()
    heard: list[str] = []
    db.listen(heard.append)
    await db.tx(lambda con: con.scalar(sa.select(1)))
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    postgres.sql(end, database=name(postgres_url))
    await until(lambda: "" in heard)
    lost = []

    def fn(con: sa.Connection) -> None:
        con.execute(seen.insert().values(key="one", at=db.now))
        if not lost:
            lost.append(1)
            postgres.sql(end, database=name(postgres_url))
            con.execute(sa.text("SELECT 1"))

    await db.tx(fn)
    count = sa.select(sa.func.count()).select_from(seen)
    assert await db.tx(lambda con: con.scalar(count)) == 1
    await until(lambda: heard.count("") >= 2)
    await db.tell("ready")
    await until(lambda: heard[-1] == "ready")
    await db.close()


async def test_a_cancelled_call(postgres_url):
    """A caller that goes away leaves no connection behind that cannot be used."""
    db = database_at(postgres_url)
    await db.open()
    for _ in range(20):
        task = asyncio.create_task(db.tx(lambda con: con.execute(sa.text("SELECT pg_sleep(0.05)"))))
        await asyncio.sleep(0.01)
        task.cancel()
    assert await db.tx(lambda con: con.scalar(sa.select(7))) == 7
    await db.close()


async def test_not_durable_is_not_synced(postgres_url):
    """What must be on the disk is waited for; what only follows from it is not."""
    db = database_at(postgres_url)
    await db.open()
    show = sa.text("SHOW synchronous_commit")
    assert await db.tx(lambda con: con.scalar(show)) == "on"
    assert await db.tx(lambda con: con.scalar(show), durable=False) == "off"
    await db.close()


def test_doctor(postgres, postgres_url, empty, tmp_path):
    """`bascule doctor` says in words how the database is, without its password."""

    def line(url: str):
        return _database(BridgeSettings(_env_file=None, bridge_database_url=url))

    assert line(postgres_url).state == "ok"
    assert "is made by the first" in line(empty).detail
    away = line(f"postgresql://u:hidden-word@/d?host={tmp_path}")
    assert (away.state, "hidden-word" in away.detail) == ("failed", False)
    assert away.remedy
    assert line(postgres.url("nobody_made_it")).state == "failed"


async def test_a_standby_in_between_ends_nothing(postgres: Postgres, postgres_url: str):
    """In a failover the name may lead to a standby for a while: hints are heard again afterwards,
    health says meanwhile that they are not, and no migration gets in between."""
    db = database_at(postgres_url)
    await db.open()
    heard: list[str] = []
    db.listen(heard.append)
    where = name(postgres_url)
    for statement in (
        f'ALTER DATABASE "{where}" SET search_path = public, pg_catalog',
        "CREATE FUNCTION public.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT true'",
        f"SELECT pg_terminate_backend({db._ear.info.backend_pid})",
    ):
        postgres.sql(statement, database=where)
    await until(lambda: db.deaf)
    postgres.sql("DROP FUNCTION public.pg_is_in_recovery()", database=where)
    await until(lambda: not db.deaf)
    await until(lambda: "" in heard)
    await db.tell("ready")
    await until(lambda: heard[-1] == "ready")
    with (
        pytest.raises(StoreBusy),
        database_at(postgres_url).maintenance(alone=True) as connection,
    ):
        database_at(postgres_url).require_alone(connection)
    await db.close()
