"""The days and months of budgets: those of the deployment, the same for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agent_service.contract import Period, span, zone


@dataclass(frozen=True, slots=True)
class Current:
    """A period that is now. `name` is that of the day (`2026-11-24`) or month (`2026-11`)."""

    period: Period
    name: str
    start: float
    end: float
    renews: str
    """When the next one begins, in words."""
    title: str
    """`today` or the month's name."""


def current(period: Period, time_zone: str, now: float) -> Current:
    """The day or month around `now`, in seconds since the epoch."""
    start, end = span(period, time_zone, now)
    here = zone(time_zone)
    began, over = datetime.fromtimestamp(start, here), datetime.fromtimestamp(end, here)
    if period == "day":
        where = "UTC" if time_zone == "UTC" else f"({time_zone})"
        return Current(
            period, began.strftime("%Y-%m-%d"), start, end, f"at {over:%H:%M} {where}", "today"
        )
    return Current(
        period,
        began.strftime("%Y-%m"),
        start,
        end,
        f"on {over.day} {over:%B} ({time_zone})",
        began.strftime("%B"),
    )
