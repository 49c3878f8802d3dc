"""Schema changes of the web admin, forward only, applied at start and by `bascule migrate`."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError


class TooNew(Exception):
    """The database was made by a newer release; nothing was changed."""

    remedy = "Install the newer release again, or restore a backup made by this one."


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: sa.Engine) -> tuple[str | None, str]:
    """Bring the tables to this release's revision; gives (before, after). Raises `TooNew`."""
    with engine.begin() as connection:
        config = _config(connection)
        before = MigrationContext.configure(connection).get_current_revision()
        scripts = ScriptDirectory.from_config(config)
        head = scripts.get_current_head() or ""
        if before != head:
            _known(scripts, before)
            command.upgrade(config, "head")
        return before, head


def check(connection: sa.Connection) -> None:
    """Raises `TooNew` for a database of a newer release. Changes nothing."""
    found = MigrationContext.configure(connection).get_current_revision()
    _known(ScriptDirectory.from_config(_config(connection)), found)


def _known(scripts: ScriptDirectory, revision: str | None) -> None:
    try:
        if revision is not None:
            scripts.get_revision(revision)
    except CommandError:
        raise TooNew(
            f"The database has revision {revision}, which this release does not know."
        ) from None
