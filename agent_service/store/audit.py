"""The audit log: rows that are only added, each bound to all before it by its hash.

A row's hash is the SHA-256 of the hash before it and of the row's own content. Whoever can write
the database can also make a whole new chain: `bascule audit verify` prints the newest hash, to be
kept elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from agent_service.contract.audit import BEGINNING, AuditEntry, Verdict, chained
from agent_service.contract.redaction import hide_secrets
from agent_service.store import schema
from agent_service.store.database import Database

PAGE = 200
"""Entries given at once."""
LONGEST = 500
"""Characters of a kind, an actor or a subject; what is longer is cut."""
LONGEST_DETAIL = 8000

_LAST = sa.select(schema.audit.c.seq, schema.audit.c.hash).order_by(schema.audit.c.seq.desc())
_LAST_ONE = _LAST.limit(1)
_AFTER = sa.select(schema.audit).where(schema.audit.c.seq > sa.bindparam("after"))
_PAGE = _AFTER.order_by(schema.audit.c.seq).limit(PAGE)


def append(
    db: sa.Connection, kind: str, actor: str, subject: str, detail: Mapping[str, Any] | None = None
) -> int:
    """Add an entry in the transaction of what it tells of; gives its number.

    What looks like a secret is hidden; that is the last net, not a licence to hand one over.
    """
    last = db.execute(_LAST_ONE).first()
    seq, before = (last.seq + 1, last.hash) if last else (1, BEGINNING)
    at = time.time()
    shown = hide_secrets(None, "", {"kind": kind, "actor": actor, "subject": subject})
    words = (_text(shown["kind"]), _text(shown["actor"]), _text(shown["subject"]))
    kept = json.dumps(hide_secrets(None, "", dict(detail or {})), sort_keys=True)
    if len(kept) > LONGEST_DETAIL:
        kept = json.dumps({"cut": kept[:LONGEST_DETAIL]})
    db.execute(
        schema.audit.insert().values(
            seq=seq,
            at=at,
            kind=words[0],
            actor=words[1],
            subject=words[2],
            detail=kept,
            hash=chained(before, seq, at, words, kept),
        )
    )
    return seq


def _text(value: str) -> str:
    # A lone surrogate is no text that SQLite can store.
    return value.encode("utf-8", "replace").decode()[:LONGEST]


def holds(db: sa.Connection, kind: str, actor: str, subject: str) -> bool:
    """Whether such an entry is there already."""
    table = schema.audit
    same = (table.c.kind == kind, table.c.actor == actor, table.c.subject == subject)
    return db.scalar(sa.select(table.c.seq).where(*same).limit(1)) is not None


def page(db: sa.Connection, after: int) -> list[AuditEntry]:
    """At most `PAGE` entries after a number, oldest first."""
    return [_entry(row) for row in db.execute(_PAGE, {"after": after})]


def newest(db: sa.Connection, before: int) -> list[AuditEntry]:
    """At most `PAGE` entries below a number, newest first."""
    table = schema.audit
    query = sa.select(table).where(table.c.seq < before).order_by(table.c.seq.desc()).limit(PAGE)
    return [_entry(row) for row in db.execute(query)]


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        actor=row.actor,
        subject=row.subject,
        hash=row.hash,
        detail=json.loads(row.detail),
    )


def verify(db: sa.Connection) -> Verdict:
    """Go through the whole chain. It names the first entry that is changed, missing or moved."""
    before, expected = BEGINNING, 1
    rows = db.execute(sa.select(schema.audit).order_by(schema.audit.c.seq))
    for row in rows.yield_per(1000):
        if row.seq != expected:
            return Verdict(expected - 1, before, f"Entry {expected} is missing.")
        made = chained(before, row.seq, row.at, (row.kind, row.actor, row.subject), row.detail)
        if made != row.hash:
            return Verdict(
                expected - 1,
                before,
                f"Entry {row.seq} is not what was written, or the one before it is not.",
            )
        before, expected = row.hash, expected + 1
    # SQLite remembers the highest number it ever gave out in this table.
    highest = db.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").scalar()
    if highest is not None and highest >= expected:
        return Verdict(expected - 1, before, f"Entries {expected} to {highest} are missing.")
    return Verdict(expected - 1, before)


class AuditUnreadable(Exception):
    """The file cannot be checked; `remedy` says what to do."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def verify_file(path: Path) -> Verdict:
    """Check the chain in a database without writing to it, while a service may be using it.

    Raises `AuditUnreadable`.
    """
    with _reading(path) as db:
        return verify(db)


def export_file(path: Path) -> Iterator[AuditEntry]:
    """All entries, oldest first, read as `verify_file` does. Raises `AuditUnreadable`."""
    after = 0
    with _reading(path) as db:
        while entries := page(db, after):
            yield from entries
            after = entries[-1].seq


@contextmanager
def _reading(path: Path) -> Iterator[sa.Connection]:
    if not path.exists():
        raise AuditUnreadable(
            f"There is no database at {path}.", remedy="Set BASCULE_HOME, or start Bascule once."
        )
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True),
        poolclass=sa.NullPool,
    )
    try:
        with engine.connect() as db:
            yield db
    except sa.exc.DatabaseError as error:
        raise AuditUnreadable(
            f"{path} cannot be read: {error.orig}.", remedy="Run `bascule migrate` first."
        ) from None


class AuditLog:
    """The log for those who have no transaction of their own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self, kind: str, actor: str, subject: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Add an entry. Returns once it is stored; raises `StoreFull`."""
        await self._database.tx(append, kind, actor, subject, detail)

    async def page(self, after: int) -> list[AuditEntry]:
        return await self._database.tx(page, after)

    async def newest(self, before: int) -> list[AuditEntry]:
        return await self._database.tx(newest, before)
