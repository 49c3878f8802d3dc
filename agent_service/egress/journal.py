"""Writes connections into the audit log, behind them and never in their way.

An agent may connect in a loop. So repeats of a connection within a minute become one entry with
their count, and a workspace that tries more and more hosts is counted where it is over its measure:
the log grows by at most `PER_MINUTE` entries a minute, workspace and kind, after the first `BURST`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
import structlog

from agent_service.broker.tokens import SessionToken
from agent_service.egress.proxy import Attempt
from agent_service.store import audit
from agent_service.store.database import Database, StoreFull

_log = structlog.get_logger(__name__)

FOLD_SECONDS = 60
BURST = 60
PER_MINUTE = 6
PAUSE_SECONDS = 0.5
"""Between two writes at least."""
AGAIN_SECONDS = 5
MOST = 5_000
"""Entries that are kept while the disk is full; the oldest are let go beyond that, and told."""
_NAMED = 20
"""Hosts that the entry of those over the measure names."""


@dataclass(frozen=True, slots=True)
class _Who:
    session: str
    conversation: str
    workspace: str
    turn: str
    person: str


@dataclass(slots=True)
class _Repeats:
    """How often since its entry."""

    since: float
    until: float
    count: int = 0


@dataclass(slots=True)
class _Measure:
    """What a workspace may still have of entries, and what was over it."""

    left: float
    at: float
    since: float = 0.0
    until: float = 0.0
    count: int = 0
    hosts: dict[str, None] = field(default_factory=dict)


_Entry = tuple[str, str, str, dict[str, Any]]


class Journal:
    """One a service. `close` writes what is left."""

    def __init__(
        self,
        database: Database,
        *,
        fold_seconds: float = FOLD_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._fold_seconds = fold_seconds
        self._clock = clock
        self._entries: list[_Entry] = []
        self._repeats: dict[tuple[_Who, Attempt], _Repeats] = {}
        self._measures: dict[tuple[str, bool], _Measure] = {}
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._writer = asyncio.create_task(self._write())

    def add(self, token: SessionToken, attempt: Attempt) -> None:
        """Take in a connection of the token's session. It is written soon."""
        grant, now = token.grant, self._clock()
        who = _Who(grant.session, grant.conversation, grant.workspace, token.turn, token.person)
        known = self._repeats.get((who, attempt))
        if known is not None:
            known.count += 1
        elif self._enter(who, attempt, 1, now, now):
            self._repeats[who, attempt] = _Repeats(now, now + self._fold_seconds)
        self._changed.set()

    # ---- into entries ----

    def _enter(self, who: _Who, attempt: Attempt, count: int, since: float, now: float) -> bool:
        """An entry, or one more that is over the measure: then False."""
        key = (who.workspace, attempt.allowed)
        measure = self._measures.setdefault(key, _Measure(BURST, now))
        earned = max(now - measure.at, 0.0) * PER_MINUTE / 60
        measure.left, measure.at = min(measure.left + earned, BURST), now
        if measure.left < 1:
            if not measure.count:
                measure.since, measure.until = since, now + self._fold_seconds
            measure.count += count
            if len(measure.hosts) < _NAMED:
                measure.hosts[f"{attempt.host}:{attempt.port}"] = None
            return False
        measure.left -= 1
        detail: dict[str, Any] = {
            "host": attempt.host,
            "port": attempt.port,
            "address": attempt.address,
            "reason": attempt.reason,
            "session": who.session,
            "conversation": who.conversation,
            "turn": who.turn,
            "person": who.person,
            "count": count,
            "since": since,
        }
        self._keep(who.workspace, attempt.allowed, detail)
        return True

    def _keep(self, workspace: str, allowed: bool, detail: dict[str, Any]) -> None:
        kind = "egress.connected" if allowed else "egress.refused"
        _log.info(kind, workspace=workspace, **detail)
        self._entries.append((kind, f"workspace:{workspace}", str(detail.get("host", "")), detail))
        if len(self._entries) > MOST:
            _log.error("egress.lost", entries=1)
            del self._entries[0]

    def _settle(self, *, all_of_them: bool = False) -> None:
        """Make entries of the repeats whose minute is over."""
        now = self._clock()
        for (who, attempt), repeats in list(self._repeats.items()):
            if not all_of_them and now < repeats.until:
                continue
            if repeats.count and self._enter(who, attempt, repeats.count, repeats.since, now):
                self._repeats[who, attempt] = _Repeats(now, now + self._fold_seconds)
            else:
                del self._repeats[who, attempt]
        for (workspace, allowed), measure in list(self._measures.items()):
            if measure.count and (all_of_them or now >= measure.until):
                detail = {
                    "over_the_measure": list(measure.hosts),
                    "count": measure.count,
                    "since": measure.since,
                }
                self._keep(workspace, allowed, detail)
                measure.count = 0
                measure.hosts.clear()
            elif not measure.count and now - measure.at > BURST / PER_MINUTE * 60:
                del self._measures[workspace, allowed]

    # ---- into the log ----

    async def _write(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._next()):
                    await self._changed.wait()
            self._changed.clear()
            pause = PAUSE_SECONDS
            try:
                self._settle()
                await self._flush()
            except StoreFull as error:
                _log.error("egress.unwritten", reason=str(error), entries=len(self._entries))
                pause = AGAIN_SECONDS
                self._changed.set()
            except Exception:  # noqa: BLE001 - whatever it is, what comes later must be written
                _log.exception("egress.unwritten", entries=len(self._entries))
                pause = AGAIN_SECONDS
                self._changed.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    def _next(self) -> float | None:
        """Seconds until something is due by itself."""
        due = [repeats.until for repeats in self._repeats.values()]
        due += [measure.until for measure in self._measures.values() if measure.count]
        return max(min(due) - self._clock(), 0.0) if due else None

    async def _flush(self) -> None:
        entries = list(self._entries)
        if entries:
            await self._database.tx(_append, entries)
            # Some of them may have been let go meanwhile.
            written = set(map(id, entries))
            self._entries = [entry for entry in self._entries if id(entry) not in written]

    async def close(self) -> None:
        """Write what is left and stop. Before the database is closed. Never raises."""
        self._stopping.set()
        self._changed.set()
        # Not cancelled: a transaction that has begun is carried out, and would be repeated here.
        await self._writer
        self._settle(all_of_them=True)
        try:
            await self._flush()
        except Exception:  # noqa: BLE001 - the database has to be closed all the same
            _log.exception("egress.lost", entries=len(self._entries))


def _append(db: sa.Connection, entries: list[_Entry]) -> None:
    for entry in entries:
        audit.append(db, *entry)
