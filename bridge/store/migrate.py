"""Bring a database to this release's schema, or say why not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from bridge.store.dialects import database_at
from bridge.store.errors import SchemaTooNew, StoreUnusable

_SCRIPTS = Path(__file__).parent / "migrations"


def migrate(url: str) -> str:
    """Apply what is missing; returns the revision it is at now. Harmless to repeat, and for
    several processes at once.

    Raises `StoreBusy` while a bridge runs on it, `SchemaTooNew` when a newer release made it,
    `StoreTrouble` where it may work later.
    """
    database = database_at(url)
    with database.maintenance(alone=True) as connection:
        if _state(connection, database.name) != "current":
            database.require_alone(connection)
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return _head()


def check(url: str) -> None:
    """Raises `StoreUnusable` unless the schema is exactly this release's; changes nothing.
    Raises `StoreTrouble` where it may work later."""
    database = database_at(url)
    if not database.exists:
        raise StoreUnusable(f"There is no database at {database.name}: run `bascule migrate`.")
    with database.maintenance(alone=False) as connection:
        state = _state(connection, database.name)
    if state != "current":
        raise StoreUnusable(f"{database.name} is of an older release: run `bascule migrate`.")


def _state(connection: sa.Connection, name: str) -> Literal["current", "older"]:
    found = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_config())
    if found == scripts.get_current_head():
        return "current"
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNew(
            f"{name} was made by a newer release of Bascule (schema {found}): install that "
            "release again, or restore a backup."
        )
    return "older"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _head() -> str:
    return ScriptDirectory.from_config(_config()).get_current_head() or ""
