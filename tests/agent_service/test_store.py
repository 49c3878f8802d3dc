"""The store: its tables, its lock, its files."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from agent_service.settings import SettingsInvalid, read_keys
from agent_service.store import migrations
from agent_service.store.database import Database, StoreUnusable, engine_for
from agent_service.store.schema import metadata
from tests.agent_service.agent import ScriptedAgent
from tests.agent_service.process import ProcessAgent


def test_migrations_make_the_tables_of_the_schema(tmp_path: Path) -> None:
    """All migrations together give exactly what the code expects: tables, columns, indexes."""
    engine = engine_for(tmp_path / "agent.db")
    assert migrations.upgrade(engine)[0] is None
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        made = sqlite_objects(connection)
    engine.dispose()
    other = engine_for(tmp_path / "other.db")
    with other.begin() as connection:
        metadata.create_all(connection)
        assert sqlite_objects(connection) == made
    other.dispose()


def sqlite_objects(connection: sa.Connection) -> set[tuple[object, ...]]:
    """Tables, indexes and columns with what the comparison above does not see."""
    found: set[tuple[object, ...]] = set()
    rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master").all()
    for kind, name, sql in rows:
        if "alembic_version" in name:
            continue
        found.add((kind, name, "WITHOUT ROWID" in (sql or ""), " WHERE " in (sql or "")))
        columns = connection.exec_driver_sql(f"SELECT * FROM pragma_table_info('{name}')").all()
        found.update((name, *column[1:]) for column in columns)
    return found


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    """Every start migrates; on a database that is up to date this does nothing."""
    engine = engine_for(tmp_path / "agent.db")
    _, head = migrations.upgrade(engine)
    assert migrations.upgrade(engine) == (head, head)
    engine.dispose()


async def test_a_database_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    """It is refused with what an operator can do, and not changed."""
    path = tmp_path / "agent.db"
    engine = engine_for(path)
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    database = Database(path)
    with pytest.raises(StoreUnusable, match="9999") as refused:
        await database.open()
    assert "newer release" in refused.value.remedy
    await database.close()


async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """A damaged file is named, with what an operator can do."""
    path = tmp_path / "agent.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    database = Database(path)
    with pytest.raises(StoreUnusable, match=r"agent\.db") as refused:
        await database.open()
    assert "backup" in refused.value.remedy
    await database.close()


async def test_a_second_service_on_a_home_is_refused(home: Path) -> None:
    """One service a home: the second says why, and does not disturb the first."""
    first = ScriptedAgent(home)
    await first.start()
    second = ScriptedAgent(home)
    with pytest.raises(StoreUnusable, match="Another agent service") as refused:
        await second.start()
    assert "BASCULE_HOME" in refused.value.remedy
    await second.service.stop()
    assert (await first.turn("say still here")).text == "still here"
    await first.stop()


async def test_a_second_process_on_a_home_ends_with_two(process: ProcessAgent) -> None:
    """The same for a process: exit code 2 tells a supervisor not to try again."""
    second = ProcessAgent(process.home, process.model)
    await second.start(ready=False)
    assert await second.process.wait() == 2
    await second.caller.http.close()
    assert "Another agent service" in process.log.read_text()
    assert (await process.turn("say still here")).text == "still here"


async def test_nobody_else_can_read_it(process: ProcessAgent) -> None:
    """All that the service makes is for its own user only, whatever the umask."""
    shutil.rmtree(process.home / "workspaces")  # the test's own
    turn = await process.allow_all("bash touch x.txt")
    assert turn.last["outcome"] == "completed"
    home = process.home
    folders = [home / "agent", home / "run", home / "workspaces"]
    folders += [home / "workspaces" / "w1" / name for name in (".", "work", "config", "home")]
    for folder in folders:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    files = [*(home / "agent").iterdir(), home / "run" / "agent.sock"]
    assert {"agent.db", "agent.db-wal", "agent.lock"} <= {file.name for file in files}
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        (None, 0o600, "cannot be read"),
        ("", 0o600, "32 characters"),
        ("short\n", 0o600, "32 characters"),
        ("k" * 40, 0o640, "chmod 600"),
        ("k" * 40, 0o604, "chmod 600"),
        ("schlüssel" * 8, 0o600, "not a text file"),
    ],
)
def test_a_bad_key_file_is_told(tmp_path: Path, text: str | None, mode: int, says: str) -> None:
    """A key file that is missing, weak or open to others is refused, by name."""
    file = tmp_path / "bridge.keys"
    if text is not None:
        file.write_text(text, "utf-8")
        file.chmod(mode)
    with pytest.raises(SettingsInvalid, match=says) as refused:
        read_keys(file)
    assert str(file) in str(refused.value)
    assert "k" * 40 not in str(refused.value)
