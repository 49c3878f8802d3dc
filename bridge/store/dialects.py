"""Which class serves a database URL."""

from __future__ import annotations

import sqlalchemy as sa

from bridge.store.database import Database
from bridge.store.errors import StoreUnusable
from bridge.store.postgres import PostgresDatabase
from bridge.store.sqlite import SqliteDatabase

DIALECTS: dict[str, type[SqliteDatabase] | type[PostgresDatabase]] = {
    "sqlite": SqliteDatabase,
    "postgresql": PostgresDatabase,
    "postgres": PostgresDatabase,
}


def database_at(url: str) -> Database:
    """The database at an SQLAlchemy URL, not yet open. Raises `StoreUnusable` for a bad one."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise StoreUnusable("BRIDGE_DATABASE_URL: is not a database URL.") from None
    found = DIALECTS.get(parsed.get_backend_name())
    if found is None:
        raise StoreUnusable(
            f"BRIDGE_DATABASE_URL: {parsed.get_backend_name()} is not supported; use PostgreSQL "
            "or SQLite."
        )
    return found(parsed)
