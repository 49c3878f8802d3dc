"""The console's own memory: what was said and posted, so that a terminal can come back to it.

Every call is one transaction in the calling thread and survives a crash of the process. The
newest `KEEP` entries of a conversation are kept, and conversations that moved in `KEEP_DAYS`.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.console.protocol import BODY, Body, Entry, Mark, Post, Said

KEEP = 500
KEEP_DAYS = 90
HISTORY = 12
"""Entries that a terminal is shown when it attaches for the first time."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    place TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL,
    mark TEXT,
    shown INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    at REAL NOT NULL,
    UNIQUE (place, kind, key)
);
CREATE INDEX IF NOT EXISTS entry_place ON entry (place, seq);
CREATE INDEX IF NOT EXISTS entry_change ON entry (place, rev);
CREATE TABLE IF NOT EXISTS clock (rev INTEGER NOT NULL);
INSERT INTO clock SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM clock);
"""


class Posts:
    """One SQLite file and a directory of files beside it. Raises `sqlite3.Error` or `OSError`."""

    def __init__(self, directory: Path) -> None:
        self._files = directory / "files"
        self._files.mkdir(mode=0o700, exist_ok=True)
        self._con = sqlite3.connect(
            directory / "console.db", timeout=2, isolation_level=None, check_same_thread=False
        )
        # The adapter has no moment of closing: posts may arrive until the process ends.
        weakref.finalize(self, self._con.close)
        self._lock = threading.Lock()
        self._con.execute("PRAGMA journal_mode = WAL")
        self._con.execute("PRAGMA synchronous = NORMAL")
        self._con.executescript(_SCHEMA)
        self._forget()

    def files_of(self, place: str, key: str) -> Path:
        """The directory for a post's files; it goes when the post does."""
        return self._files / _digest(place, key)

    def send(self, place: str, key: str, body: Body) -> Post:
        """The post of this key, made or found; it shows `body` from now on."""
        with self._change() as rev:
            seq = self._con.execute(
                "INSERT INTO entry (place, kind, key, body, shown, rev, at) "
                "VALUES (?, 'post', ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE "
                "SET body = excluded.body, rev = excluded.rev, at = excluded.at RETURNING seq",
                (place, key, _json(body), rev, time.time()),
            ).fetchone()[0]
            self._trim(place)
        return Post(ref=str(seq), rev=rev, body=body)

    def find(self, ref: str) -> tuple[str, str] | None:
        """(place, key) of a post that is still kept."""
        if not ref.isdecimal() or len(ref) > 18:
            return None
        with self._lock:
            found: tuple[str, str] | None = self._con.execute(
                "SELECT place, key FROM entry WHERE seq = ? AND kind = 'post'", (int(ref),)
            ).fetchone()
        return found

    def edit(self, ref: str, body: Body) -> Post | None:
        """The post as it is from now on, or None when it is not kept any more."""
        with self._change() as rev:
            changed = self._con.execute(
                "UPDATE entry SET body = ?, rev = ?, at = ? WHERE seq = ? AND kind = 'post'",
                (_json(body), rev, time.time(), int(ref)),
            ).rowcount
        return Post(ref=ref, rev=rev, body=body) if changed else None

    def note_said(self, place: str, key: str, text: str) -> None:
        """Give a message its place before its answer can come. It is not shown yet."""
        with self._change() as rev:
            self._con.execute(
                "INSERT INTO entry (place, kind, key, body, shown, rev, at) "
                "VALUES (?, 'said', ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING",
                (place, key, text, rev, time.time()),
            )
            self._trim(place)

    def show_said(self, place: str, key: str) -> Said | None:
        """The bridge has it: from now on it is part of the history. None if it was already."""
        with self._change() as rev:
            row = self._con.execute(
                "UPDATE entry SET shown = 1, rev = ? "
                "WHERE place = ? AND kind = 'said' AND key = ? AND NOT shown RETURNING body, mark",
                (rev, place, key),
            ).fetchone()
        return Said(key=key, rev=rev, text=row[0], mark=row[1]) if row else None

    def mark(self, place: str, key: str, mark: Mark) -> int | None:
        """The change's number, or None for a message that is not kept."""
        with self._change() as rev:
            changed = self._con.execute(
                "UPDATE entry SET mark = ?, rev = ? WHERE place = ? AND kind = 'said' AND key = ?",
                (mark, rev, place, key),
            ).rowcount
        return rev if changed else None

    def recent(self, place: str, since: int | None) -> tuple[Entry, ...]:
        """What changed after `since`; without it the last `HISTORY` entries. In order."""
        columns = "seq, kind, key, body, mark, rev FROM entry WHERE place = ? AND shown"
        with self._lock:
            if since is not None:
                rows = self._con.execute(
                    f"SELECT {columns} AND rev > ? ORDER BY seq",
                    (place, since),
                ).fetchall()
            else:
                rows = self._con.execute(
                    f"SELECT {columns} ORDER BY seq DESC LIMIT ?",
                    (place, HISTORY),
                ).fetchall()[::-1]
        return tuple(_entry(*row) for row in rows)

    @contextmanager
    def _change(self) -> Iterator[int]:
        """One transaction, and the number of its change."""
        with self._lock:
            self._con.execute("BEGIN IMMEDIATE")
            try:
                yield self._con.execute("UPDATE clock SET rev = rev + 1 RETURNING rev").fetchall()[
                    0
                ][0]
                self._con.execute("COMMIT")
            except BaseException:
                if self._con.in_transaction:
                    self._con.execute("ROLLBACK")
                raise

    def _trim(self, place: str) -> None:
        oldest = (
            "SELECT seq FROM entry WHERE place = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2",
            (place, KEEP),
        )
        row = self._con.execute(*oldest).fetchone()
        if row is not None:
            self._drop("place = ? AND seq <= ?", (place, row[0]))

    def _forget(self) -> None:
        """Drop conversations in which nothing has happened for long."""
        with self._change():
            self._drop(
                "place IN (SELECT place FROM entry GROUP BY place HAVING max(at) < ?)",
                (time.time() - KEEP_DAYS * 86_400,),
            )

    def _drop(self, which: str, values: tuple[object, ...]) -> None:
        gone = self._con.execute(
            f"DELETE FROM entry WHERE {which} RETURNING place, kind, key",  # noqa: S608 - ours
            values,
        ).fetchall()
        for place, kind, key in gone:
            if kind == "post":
                shutil.rmtree(self.files_of(place, key), ignore_errors=True)


def _digest(place: str, key: str) -> str:
    return hashlib.sha256(f"{place}\0{key}".encode("utf-8", "replace")).hexdigest()[:24]


def _json(body: Body) -> str:
    return BODY.dump_json(body).decode()


def _entry(seq: int, kind: str, key: str, body: str, mark: Mark | None, rev: int) -> Entry:
    if kind == "said":
        return Said(key=key, rev=rev, text=body, mark=mark)
    return Post(ref=str(seq), rev=rev, body=BODY.validate_json(body))
