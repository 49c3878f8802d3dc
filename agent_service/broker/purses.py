"""What people and the deployment have used in the periods of their budgets."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent_service.broker.spend import Spend
from agent_service.contract.budgets import Budget, span

Used = Callable[[str | None, float], Awaitable[float]]
"""US dollars that a person, or with None all together, used since then: whatever `Purses.add` was
told before it returns, and nothing else."""


@dataclass(frozen=True, slots=True)
class _Purse:
    person: str | None
    until: float
    spend: Spend


class Purses:
    """One a service. Turns of one person share a purse, and all share that of the deployment."""

    def __init__(self, used: Used, clock: Callable[[], float] = time.time) -> None:
        self._used = used
        self._clock = clock
        self._open: dict[tuple[str | None, str, str], _Purse] = {}

    async def spend(self, budget: Budget, person: str) -> Spend:
        """What counts against the budget now; another one once its period is over."""
        whose = person if budget.whose == "person" else None
        key = (whose, budget.period, budget.time_zone)
        now = self._clock()
        if (found := self._open.get(key)) is not None and now < found.until:
            return found.spend
        since, until = span(budget.period, budget.time_zone, now)
        used = await self._used(whose, since)
        # From here to where it can be found nothing is awaited: no answer is missed or counted
        # twice. Another request may have been quicker.
        if (found := self._open.get(key)) is not None and now < found.until:
            return found.spend
        self._open = {k: purse for k, purse in self._open.items() if now < purse.until}
        made = self._open[key] = _Purse(whose, until, Spend(used))
        return made.spend

    def add(self, person: str, usd: float) -> None:
        """An answer was paid for this person."""
        for purse in self._open.values():
            if purse.person in (None, person):
                purse.spend.usd += usd
