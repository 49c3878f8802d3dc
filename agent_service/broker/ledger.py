"""Writes down what was used, behind the answers and never in their way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
import structlog

from agent_service.broker.broker import Answered
from agent_service.store import audit, usage
from agent_service.store.database import Database, StoreFull

_log = structlog.get_logger(__name__)

AGAIN_SECONDS = 5
MOST = 100_000
"""Answers that are kept while the disk is full; the oldest are let go beyond that, and told."""


class Ledger:
    """One a service. `close` writes what is left."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        """`clock`: when an answer was given."""
        self._database = database
        self._clock = clock
        self._writing = asyncio.Lock()
        self._rows: list[dict[str, Any]] = []
        self._unmetered: dict[str, bool] = {}
        """Credentials whose answers do not say what they used, and whether that is written."""
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._writer = asyncio.create_task(self._write())

    def add(self, answered: Answered) -> None:
        """Take in an answer. It is written soon."""
        _log.info(
            "usage.answered",
            turn_id=answered.turn,
            # The broker's own context is that of the turn that opened the session.
            request_id=answered.turn,
            person=answered.person,
            model=answered.model,
            cost_usd=round(answered.cost_usd, 6),
        )
        self._rows.append(usage.row_of(answered, self._clock()))
        if len(self._rows) > MOST:
            _log.error("usage.lost", answers=1)
            del self._rows[0]
        self._changed.set()

    def unmetered(self, credential: str) -> None:
        """An answer did not say what it used. Audited once a credential and start."""
        if credential not in self._unmetered:
            _log.warning("usage.missing", credential=credential, counted_as="what was asked for")
            self._unmetered[credential] = False
            self._changed.set()

    async def _write(self) -> None:
        while not self._stopping.is_set():
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._flush()
                continue
            except StoreFull as error:
                _log.error("usage.unwritten", reason=str(error), answers=len(self._rows))
            except Exception:  # noqa: BLE001 - whatever it is, what comes later must be written
                _log.exception("usage.unwritten", answers=len(self._rows))
            self._changed.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    await self._stopping.wait()

    async def _flush(self) -> None:
        async with self._writing:
            rows = list(self._rows)
            missing = [credential for credential, told in self._unmetered.items() if not told]
            await self._database.tx(_add, rows, missing)
            self._unmetered.update(dict.fromkeys(missing, True))
            # Some of them may have been let go meanwhile.
            written = set(map(id, rows))
            self._rows = [row for row in self._rows if id(row) not in written]

    async def spent(self, conversation: str) -> float:
        """US dollars that a conversation has used by the broker, as far as they are written."""
        return await self._database.tx(usage.spent, conversation)

    async def used(self, person: str | None, since: float) -> float:
        """US dollars that a person, or with None everybody together, used since then, written or
        not; what people's own sign-ins paid is not counted."""
        async with self._writing:  # while it is held, what is in memory is not in the database
            usd, own = await self._database.tx(usage.used, person, since)
        return usd + sum(
            float(row["cost_usd"])
            for row in self._rows
            if person in (None, row["person"])
            and row["at"] >= since
            and row["credential"] not in own
        )

    async def close(self) -> None:
        """Write what is left and stop. Before the database is closed. Never raises."""
        self._stopping.set()
        self._changed.set()
        # Not cancelled: a transaction that has begun is carried out, and would be repeated here.
        await self._writer
        try:
            await self._flush()
        except Exception:  # noqa: BLE001 - the database has to be closed all the same
            _log.exception("usage.lost", answers=len(self._rows))


def _add(db: sa.Connection, rows: list[dict[str, Any]], missing: list[str]) -> None:
    usage.add(db, rows)
    for credential in missing:
        audit.append(db, "usage.missing", "agent_service", credential)
