"""What the bridge counts for Prometheus. docs/metrics.md says what each number means; a test holds
it to what is served. No label holds anything of a person, a conversation or a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bridge.http_api.health import Part
from bridge.store.database import Database
from bridge.store.schema import is_open, message

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
STATES = ("ok", "starting", "degraded", "failed")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not over yet in the whole deployment. `oldest` is the age of the message that has
    waited longest to be taken, in seconds."""

    queued: int = 0
    running: int = 0
    waiting: int = 0
    oldest: float = 0.0


def backlog(con: sa.Connection, db: Database) -> Backlog:
    """As it is now."""
    c = message.c
    waited = db.now - sa.func.min(c.received_at)
    query = sa.select(c.status, sa.func.count(), waited).where(is_open).group_by(c.status)
    rows = {row[0]: (row[1], row[2]) for row in con.execute(query)}
    counts = {status: count for status, (count, _) in rows.items()}
    return Backlog(
        counts.get("queued", 0),
        counts.get("running", 0),
        counts.get("waiting", 0),
        max(0.0, float(rows["queued"][1])) if "queued" in rows else 0.0,
    )


class Metrics:
    """One a bridge, with a registry of its own. Counters begin at 0 with the process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._messages = self._counter("messages", "Messages that came in.", "result")
        self._turns = self._counter("turns", "Messages that were dealt with.", "outcome")
        self._posts = self._counter("deliveries", "Posts and edits.", "adapter", "result")
        self._first = Histogram(
            "bascule_bridge_first_text_seconds",
            "From when a message is taken to the agent's first text.",
            registry=self._registry,
            buckets=SECONDS,
        )
        self._queued = self._gauge("messages_queued", "Messages that wait to be taken.")
        self._running = self._gauge("turns_running", "Turns in progress.")
        self._waiting = self._gauge("decisions_waiting", "Turns that wait for a decision.")
        self._oldest = self._gauge(
            "oldest_message_seconds", "Age of the message that has waited longest to be taken."
        )
        self._here = self._gauge("turns_here", "Turns that this process works on.")
        self._parts = self._gauge("part", "1 for the state that a part is in.", "part", "state")

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"bascule_bridge_{name}", help_, labels, registry=self._registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(f"bascule_bridge_{name}", help_, labels, registry=self._registry)

    def arrived(self, result: Literal["stored", "duplicate", "too_fast", "refused"]) -> None:
        """A message came in."""
        self._messages.labels(result).inc()

    def ended(self, outcome: str) -> None:
        """A message was dealt with: a turn's outcome, or `not_taken`, `stopped`, `broken`,
        `unknown` where there was none."""
        self._turns.labels(outcome).inc()

    def first_text(self, seconds: float) -> None:
        """The agent's first text came."""
        self._first.observe(seconds)

    def delivered(self, adapter: str, result: Literal["done", "retried", "failed"]) -> None:
        """A post or an edit was tried."""
        self._posts.labels(adapter, result).inc()

    def text(self, now: Backlog, here: int, parts: Mapping[str, Part]) -> bytes:
        """All of it, with what the database and the parts say now."""
        self._queued.set(now.queued)
        self._running.set(now.running)
        self._waiting.set(now.waiting)
        self._oldest.set(now.oldest)
        self._here.set(here)
        for name, part in parts.items():
            self._state(name, part.state, STATES)
        return generate_latest(self._registry)

    def _state(self, part: str, state: str, states: Iterable[str]) -> None:
        for one in states:
            self._parts.labels(part, one).set(one == state)
