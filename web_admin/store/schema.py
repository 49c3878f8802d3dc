"""The web admin's tables. `migrations/` makes exactly these; a test compares them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(naming_convention={"pk": "pk_%(table_name)s", "uq": "uq_%(table_name)s"})

# How a person signs in by themselves; who they are and what they may is the bridge's to say.
account = sa.Table(
    "account",
    metadata,
    sa.Column("person", sa.Text, primary_key=True),
    # In lower case.
    sa.Column("login", sa.Text, nullable=False, unique=True),
    sa.Column("password", sa.Text, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
)

web_session = sa.Table(
    "web_session",
    metadata,
    # Of the cookie's value, which is nowhere else than in the browser.
    sa.Column("sha256", sa.Text, primary_key=True),
    # By which it is named on pages.
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("person", sa.Text, nullable=False),
    # As the bridge last told, for when it cannot be asked.
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("workspace", sa.Text, nullable=False),
    sa.Column("told_at", sa.Float, nullable=False),
    sa.Column("csrf", sa.Text, nullable=False),
    # claim, password or link
    sa.Column("how", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("browser", sa.Text, nullable=False),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    # What the next page says once.
    sa.Column("said", sa.Text, nullable=False, server_default=""),
)
sa.Index("ix_web_session_person", web_session.c.person)

used_link = sa.Table(
    "used_link",
    metadata,
    sa.Column("nonce", sa.Text, primary_key=True),
    sa.Column("until", sa.Float, nullable=False),
)

# Sign-ins that did not work, by account and by address, hashed.
failure = sa.Table(
    "failure",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
sa.Index("ix_failure_key", failure.c.key, failure.c.at)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)


def _only_added_to(table: sa.Table, connection: sa.Connection, **_how: object) -> None:
    for act in ("UPDATE", "DELETE"):
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table.name}_no_{act.lower()} BEFORE {act} ON {table.name} "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"
        )


sa.event.listen(audit, "after_create", _only_added_to)
