"""What was posted under which key, so that nothing is posted twice after a crash or an outage.

Discord knows a post's nonce for some minutes. For later, what was tried is noted before each post:
where no answer came, the channel is read back. Every call is one transaction in the calling thread.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KEEP_DAYS = 35
_MOST_DIGESTS = 20

_SCHEMA = """
CREATE TABLE IF NOT EXISTS post (
    channel INTEGER NOT NULL,
    key TEXT NOT NULL,
    tried_at REAL NOT NULL,
    digests TEXT NOT NULL,
    message INTEGER,
    PRIMARY KEY (channel, key)
);
CREATE INDEX IF NOT EXISTS post_tried ON post (tried_at);
CREATE INDEX IF NOT EXISTS post_message ON post (message);
"""


@dataclass(frozen=True, slots=True)
class Tried:
    """What is known of a key. `since` is when it was first tried (seconds since the epoch), None
    where this is the first try; `digests` are of all that was tried to be shown."""

    since: float | None
    digests: frozenset[str]
    message: int | None


class Memory:
    """One SQLite file. Raises `sqlite3.Error` or `OSError`."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._con = sqlite3.connect(
            directory / "discord.db", timeout=2, isolation_level=None, check_same_thread=False
        )
        # The adapter has no moment of closing: posts may be sent until the process ends.
        weakref.finalize(self, self._con.close)
        self._lock = threading.Lock()
        self._con.execute("PRAGMA journal_mode = WAL")
        self._con.execute("PRAGMA synchronous = NORMAL")
        self._con.executescript(_SCHEMA)
        self._con.execute(
            "DELETE FROM post WHERE tried_at < ?", (self._clock() - KEEP_DAYS * 86_400,)
        )

    def begin(self, channel: int, key: str, digest: str) -> Tried:
        """Note that this is about to be posted; returns what was known before."""
        with self._lock:
            row = self._con.execute(
                "SELECT tried_at, digests, message FROM post WHERE channel = ? AND key = ?",
                (channel, key),
            ).fetchone()
            if row is None:
                self._con.execute(
                    "INSERT INTO post (channel, key, tried_at, digests) VALUES (?, ?, ?, ?)",
                    (channel, key, self._clock(), json.dumps([digest])),
                )
                return Tried(None, frozenset(), None)
            known = json.loads(row[1])
            if row[2] is None and digest not in known:
                known = [*known, digest][-_MOST_DIGESTS:]
                self._con.execute(
                    "UPDATE post SET digests = ? WHERE channel = ? AND key = ?",
                    (json.dumps(known), channel, key),
                )
            return Tried(row[0], frozenset(known), row[2])

    def keep(self, channel: int, key: str, message: int) -> None:
        """It is on the platform as this message."""
        with self._lock:
            self._con.execute(
                "UPDATE post SET message = ? WHERE channel = ? AND key = ?",
                (message, channel, key),
            )

    def known(self, message: int) -> bool:
        """Whether the message is the post of some key already."""
        with self._lock:
            query = "SELECT 1 FROM post WHERE message = ?"
            return self._con.execute(query, (message,)).fetchone() is not None


def digest_of(content: str, files: tuple[str, ...]) -> str:
    """What a post looks like, as far as Discord gives it back unchanged."""
    seen = f"{' '.join(content.split())}\0{len(files)}"
    return hashlib.sha256(seen.encode("utf-8", "replace")).hexdigest()[:24]


def nonce_of(channel: int, key: str) -> str:
    """At most 25 characters, the same for the same post."""
    seen = f"{channel}\0{key}".encode("utf-8", "replace")
    return hashlib.sha256(seen).hexdigest()[:24]
