"""Budgets: what may be used of the model in a period of the calendar.

The bridge keeps them and sends them with each turn; the agent service counts, and holds to them.
What people use on their own sign-ins is theirs and counts in none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar, Literal, TypeAlias
from zoneinfo import ZoneInfo

Whose: TypeAlias = Literal["person", "deployment"]
Period: TypeAlias = Literal["day", "month"]

WARN_SHARE = 0.8
"""The part of a budget from which on people are warned."""


@dataclass(frozen=True, slots=True)
class Budget:
    """US dollars that may be used in the present period: by who asks, or by all together.

    A request of the model begins only while less was used. Requests that could use up the rest
    wait for each other, over all turns: at most one answer crosses it, and that is delivered. So
    the overshoot is what one answer costs.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    whose: Whose
    usd: float
    """0 allows nothing."""
    period: Period
    time_zone: str = "UTC"
    """By whose midnight a period begins, as the IANA names it. An unknown one is a ValueError."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.usd) and self.usd >= 0):
            raise ValueError("a budget is a number of dollars from 0")
        zone(self.time_zone)


def zone(name: str) -> tzinfo:
    """A time zone by its IANA name. Raises `ValueError` where this machine knows none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name[:60]!r} here") from None


def span(period: Period, time_zone: str, now: float) -> tuple[float, float]:
    """When the period around `now` began and when the next one begins, in seconds since the
    epoch. Days and months by the clock on the wall: some have an hour more or less."""
    here = zone(time_zone)
    today = datetime.fromtimestamp(now, here).date()
    first = today if period == "day" else today.replace(day=1)
    after = first + timedelta(days=1 if period == "day" else 31)
    after = after if period == "day" else after.replace(day=1)
    start, end = (datetime(d.year, d.month, d.day, tzinfo=here).timestamp() for d in (first, after))
    return start, end
