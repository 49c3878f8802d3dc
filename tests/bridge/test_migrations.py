"""Migrations: they make this release's tables, and say in words why they cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from bridge.store.dialects import database_at
from bridge.store.errors import SchemaTooNew, StoreBusy, StoreUnusable
from bridge.store.migrate import check, migrate
from bridge.store.schema import metadata


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "of 100% names" / "bridge.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


def run(file: Path, *statements: str) -> None:
    """What another release, or a person with a shell, did to the file."""
    engine = sa.create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def test_an_empty_place_gets_the_tables_of_the_schema(url):
    """Migrating from nothing gives exactly the tables and indexes that the code works with."""
    revision = migrate(url)
    with database_at(url).maintenance(alone=True) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == revision
        # Alembic does not look at the conditions of indexes.
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        made = dict(connection.execute(sa.text(query)).all())
    for table in metadata.tables.values():
        for index in table.indexes:
            where = index.dialect_options["sqlite"]["where"]
            assert (" WHERE " in made[index.name]) == (where is not None), index.name
            if where is not None:
                words = (
                    sa.select(sa.literal(1))
                    .where(where)
                    .compile(compile_kwargs={"literal_binds": True})
                )
                wanted = str(words).partition("WHERE ")[2].replace(f"{table.name}.", "")
                assert made[index.name].partition(" WHERE ")[2] == wanted


def test_migrating_again_changes_nothing(url, file):
    """It can be run any number of times, and what is stored stays."""
    migrate(url)
    run(file, "INSERT INTO cursor VALUES ('feed', 7)")
    migrate(url)
    check(url)
    with database_at(url).maintenance(alone=False) as connection:
        assert connection.scalar(sa.text("SELECT value FROM cursor")) == 7


def test_an_older_one_is_brought_up_to_date(url, file):
    """A database of an earlier revision is refused by a check, and migrated by a start."""
    file.parent.mkdir()
    run(file, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    with pytest.raises(StoreUnusable, match="older release: run `bascule migrate`"):
        check(url)
    migrate(url)
    check(url)


def test_a_newer_one_is_left_alone(url, file):
    """A database of a newer release is refused with what to do, and not touched."""
    migrate(url)
    run(file, "UPDATE alembic_version SET version_num = '9999'")
    before = file.read_bytes()
    for step in (migrate, check):
        with pytest.raises(SchemaTooNew, match=r"newer release .*9999.*: install that release"):
            step(url)
    assert file.read_bytes() == before


def test_none_there(url):
    """A check of nothing says how to make it, and makes nothing."""
    with pytest.raises(StoreUnusable, match=r"There is no database at .* run `bascule migrate`"):
        check(url)
    assert not database_at(url).exists


async def test_one_bridge_a_database(url):
    """While a bridge has the database, neither a second one nor a migration gets it, in another
    process as little as in this one."""
    migrate(url)
    first = database_at(url)
    await first.open()
    with pytest.raises(StoreBusy, match=r"Another bridge is running on .*bridge\.db: stop it"):
        await database_at(url).open()
    with pytest.raises(StoreBusy):
        migrate(url)
    program = f"from bridge.store.migrate import migrate; migrate({url!r})"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "StoreBusy" in other.stderr
    await first.close()
    migrate(url)


@pytest.mark.parametrize(
    "rubbish", [b"this is no database at all" * 100, b"SQLite format 3\0" * 99]
)
async def test_a_damaged_file(url, file, rubbish):
    """A damaged file is reported in words that say what to do, and kept as it is."""
    file.parent.mkdir()
    file.write_bytes(rubbish)
    for step in (migrate, check):
        with pytest.raises(StoreUnusable, match=r"bridge\.db .*(damaged|cannot be used)"):
            step(url)
    database = database_at(url)
    with pytest.raises(StoreUnusable, match=r"bridge\.db .*(damaged|cannot be used)"):
        await database.open()
    await database.close()
    assert file.read_bytes() == rubbish


def test_a_place_that_cannot_be_written(tmp_path):
    """A home that is a file is named, without a traceback."""
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(StoreUnusable, match="cannot write in"):
        migrate(f"sqlite:///{tmp_path / 'home' / 'bridge.db'}")
