"""Answers to decisions that are none: noted in the audit log, but no more than it can bear.

Whoever can press buttons can send made-up ids in a loop. So an account has a measure of entries;
what is over it is counted, and told with the account's next entry.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from agent_service.store import audit
from agent_service.store.database import Database

BURST = 10
AN_HOUR = 10
MOST = 200
"""Accounts that are told apart; all others share one measure."""
OTHERS = ""


@dataclass(slots=True)
class _Measure:
    """What an account may still have of entries, and what was over it."""

    left: float
    at: float
    over: int = 0


class Forged:
    """One a service. What was over the measure is forgotten with it."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._measures: dict[str, _Measure] = {}

    async def note(self, decision: str, who: str) -> None:
        """Somebody answered a decision that is none. Raises `StoreFull`."""
        measure = self._measure(who)
        if measure.left < 1:
            measure.over += 1
            return
        measure.left -= 1
        told = {"unnamed_before": measure.over} if measure.over else {}
        measure.over = 0
        await self._database.tx(audit.append, "decision.unknown", who, decision, told)

    def _measure(self, who: str) -> _Measure:
        now = self._clock()
        if who not in self._measures and len(self._measures) >= MOST:
            for name, found in list(self._measures.items()):
                if not found.over and self._earned(found, now) >= BURST:
                    del self._measures[name]
            if len(self._measures) >= MOST:
                who = OTHERS
        measure = self._measures.setdefault(who, _Measure(BURST, now))
        measure.left, measure.at = self._earned(measure, now), now
        return measure

    @staticmethod
    def _earned(measure: _Measure, now: float) -> float:
        return min(measure.left + max(now - measure.at, 0.0) * AN_HOUR / 3600, BURST)
