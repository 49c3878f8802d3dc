"""The web admin's own tables: migrations, locks, and what is kept of secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests.web_admin.pages_house import QUICK
from web_admin.store import links, migrations, sessions
from web_admin.store.accounts import Accounts, PasswordRefused
from web_admin.store.database import Database, StoreUnusable, engine_for
from web_admin.store.schema import metadata


def test_migrations_make_the_tables_of_the_schema(tmp_path: Path) -> None:
    """Nothing is in one and not in the other."""
    engine = engine_for(tmp_path / "admin.db")
    migrations.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_one_process_a_database(tmp_path: Path) -> None:
    """A second one says so, with what to do; after the first is closed it works."""
    first, second = Database(tmp_path / "admin.db"), Database(tmp_path / "admin.db")
    await first.open()
    with pytest.raises(StoreUnusable, match="Another web admin") as refused:
        await second.open()
    assert "BASCULE_HOME" in refused.value.remedy
    await first.close()
    third = Database(tmp_path / "admin.db")
    await third.open()
    await third.close()
    await second.close()


async def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    """An older release refuses it."""
    database = Database(tmp_path / "admin.db")
    await database.open()
    await database.tx(lambda db: db.exec_driver_sql("UPDATE alembic_version SET version_num='9'"))
    await database.close()
    again = Database(tmp_path / "admin.db")
    with pytest.raises(StoreUnusable, match="does not know"):
        await again.open()
    await again.close()


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Words and a remedy."""
    (tmp_path / "admin.db").write_bytes(b"nothing" * 1000)
    database = Database(tmp_path / "admin.db")
    with pytest.raises(StoreUnusable, match="cannot be used"):
        await database.open()
    await database.close()


async def test_nothing_in_the_file_opens_anything(tmp_path: Path) -> None:
    """Neither the cookie's value nor the password is in it; the file is its user's alone."""
    path = tmp_path / "admin.db"
    database = Database(path)
    await database.open()
    token = await database.tx(
        sessions.begin, person="p_1", name="Ada", role="member", workspace="w_1", how="password",
        address="203.0.113.1", browser="b", now=0.0, seconds=60.0,
    )  # fmt: skip
    accounts = Accounts(database, QUICK)
    made = await accounts.made("ada", "correct horse battery")
    await accounts.store("p_1", made, by="p_1")
    assert "correct horse" not in repr(made)
    await database.close()
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert token.encode() not in everything
    assert b"correct horse" not in everything
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_link_is_used_once_over_restarts(tmp_path: Path) -> None:
    """What was used is remembered until it would have expired anyway."""
    for expected in (True, False):
        database = Database(tmp_path / "admin.db")
        await database.open()
        assert await database.tx(links.use, "nonce", 600.0, 0.0) is expected
        await database.close()


@pytest.mark.parametrize(
    ("login", "password"),
    [("a", "correct horse battery"), ("a b", "correct horse battery"), ("ada", "short"),
     ("ada", "aaaaaaaaaaaaaaa"), ("ada", "my name is ada"), ("ada", "x" * 1001)],
)  # fmt: skip
async def test_passwords_that_will_not_do(tmp_path: Path, login: str, password: str) -> None:
    """Too short, too long, too plain, or the name itself."""
    database = Database(tmp_path / "admin.db")
    await database.open()
    with pytest.raises(PasswordRefused):
        await Accounts(database, QUICK).made(login, password)
    await database.close()


async def test_two_cannot_have_one_name(tmp_path: Path) -> None:
    """In any case of its letters."""
    database = Database(tmp_path / "admin.db")
    await database.open()
    accounts = Accounts(database, QUICK)
    await accounts.store("p_1", await accounts.made("Ada", "correct horse battery"), by="p_1")
    with pytest.raises(PasswordRefused, match="Somebody else"):
        await accounts.store("p_2", await accounts.made("ADA", "correct horse battery"), by="p_2")
    assert await accounts.check("aDa", "correct horse battery") == "p_1"
    count = await database.tx(lambda db: db.scalar(sa.text("SELECT count(*) FROM account")))
    assert count == 1
    await database.close()
