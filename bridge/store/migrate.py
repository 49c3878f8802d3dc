"""Bring a database to this release's schema, or say why not."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from bridge.store.database import FileLock, connect, sqlite_path
from bridge.store.errors import SchemaTooNew, StoreFull, StoreUnusable

_SCRIPTS = Path(__file__).parent / "migrations"


def migrate(url: str) -> str:
    """Apply what is missing; returns the revision it is at now. Harmless to repeat.

    Raises `StoreBusy` while a bridge runs on it, `SchemaTooNew` when a newer release made it.
    """
    path = sqlite_path(url)
    lock = FileLock(path)
    lock.take()
    try:
        engine = connect(path)
        try:
            with engine.begin() as connection:
                if _state(connection, path) != "current":
                    config = _config()
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
        except sa.exc.DatabaseError as error:
            raise _unusable(path, error) from None
        finally:
            engine.dispose()
    finally:
        lock.drop()
    return _head()


def check(url: str) -> None:
    """Raises `StoreUnusable` unless the schema is exactly this release's; changes nothing."""
    path = sqlite_path(url)
    if not path.exists():
        raise StoreUnusable(f"There is no database at {path}: run `bascule migrate`.")
    engine = connect(path)
    try:
        with engine.begin() as connection:
            state = _state(connection, path)
    except sa.exc.DatabaseError as error:
        raise _unusable(path, error) from None
    finally:
        engine.dispose()
    if state != "current":
        raise StoreUnusable(f"{path} is of an older release: run `bascule migrate`.")


def _state(connection: sa.Connection, path: Path) -> str:
    found = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_config())
    if found == scripts.get_current_head():
        return "current"
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNew(
            f"{path} was made by a newer release of Bascule (schema {found}): install that "
            "release again, or restore a backup."
        )
    return "older"


def _unusable(path: Path, error: sa.exc.DatabaseError) -> Exception:
    if "full" in str(error.orig) or "disk I/O" in str(error.orig):
        return StoreFull()
    return StoreUnusable(f"{path} cannot be used: {error.orig}.")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _head() -> str:
    return ScriptDirectory.from_config(_config()).get_current_head() or ""
