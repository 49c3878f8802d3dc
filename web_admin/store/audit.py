"""The web admin's own audit log: who signed in and who changed what here.

What it asks of the agent service stands in that one's log too, with the person's id.
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

from agent_service.contract import BEGINNING, AuditEntry, Verdict, chained
from agent_service.contract.redaction import hide_secrets
from web_admin.store import schema

PAGE = 200
LONGEST = 500
"""Characters of a kind, an actor or a subject; what is longer is cut."""
LONGEST_DETAIL = 8000


class AuditUnreadable(Exception):
    """The file cannot be checked; `remedy` says what to do."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def append(
    db: sa.Connection, kind: str, actor: str, subject: str, detail: Mapping[str, Any] | None = None
) -> int:
    """Add an entry in the transaction of what it tells of; gives its number."""
    table = schema.audit
    newest = sa.select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1)
    last = db.execute(newest).first()
    seq, before = (last.seq + 1, last.hash) if last else (1, BEGINNING)
    shown = hide_secrets(None, "", {"kind": kind, "actor": actor, "subject": subject})
    words = (_text(shown["kind"]), _text(shown["actor"]), _text(shown["subject"]))
    kept = json.dumps(hide_secrets(None, "", dict(detail or {})), sort_keys=True)
    if len(kept) > LONGEST_DETAIL:
        kept = json.dumps({"cut": kept[:LONGEST_DETAIL]})
    at = time.time()
    db.execute(
        table.insert().values(
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
    return value.encode("utf-8", "replace").decode()[:LONGEST]


def page(db: sa.Connection, after: int) -> list[AuditEntry]:
    """At most `PAGE` entries after a number, oldest first."""
    table = schema.audit
    rows = db.execute(sa.select(table).where(table.c.seq > after).order_by(table.c.seq).limit(PAGE))
    return [_entry(row) for row in rows]


def newest(db: sa.Connection, before: int | None, most: int) -> list[AuditEntry]:
    """At most so many entries below a number (None: the newest), newest first."""
    table = schema.audit
    below = sa.true() if before is None else table.c.seq < before
    query = sa.select(table).where(below).order_by(table.c.seq.desc()).limit(most)
    return [_entry(row) for row in db.execute(query)]


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(
        row.seq, row.at, row.kind, row.actor, row.subject, row.hash, json.loads(row.detail)
    )


def verify(db: sa.Connection) -> Verdict:
    """Go through the whole chain. It names the first entry that is changed, missing or moved."""
    before, expected = BEGINNING, 1
    for row in db.execute(sa.select(schema.audit).order_by(schema.audit.c.seq)).yield_per(1000):
        if row.seq != expected:
            return Verdict(expected - 1, before, f"Entry {expected} is missing.")
        words = (row.kind, row.actor, row.subject)
        if chained(before, row.seq, row.at, words, row.detail) != row.hash:
            problem = f"Entry {row.seq} is not what was written, or the one before it is not."
            return Verdict(expected - 1, before, problem)
        before, expected = row.hash, expected + 1
    # SQLite remembers the highest number it ever gave out in this table.
    highest = db.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").scalar()
    if highest is not None and highest >= expected:
        return Verdict(expected - 1, before, f"Entries {expected} to {highest} are missing.")
    return Verdict(expected - 1, before)


def verify_file(path: Path) -> Verdict:
    """Check the chain in a database without writing to it, while a web admin may be using it.

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
