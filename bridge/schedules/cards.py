"""A schedule in words."""

from __future__ import annotations

from itertools import islice
from typing import Any

from bridge.people.access import shown
from bridge.present.decision import fenced, plain
from bridge.schedules.timing import Timing

SHOWN_RUNS = 3


def coming(timing: Timing, now: float) -> str:
    """Its next runs, as a list."""
    runs = [timing.shown(at) for at in islice(timing.runs(now), SHOWN_RUNS)]
    if not runs:
        return "It is not due again."
    return "\n".join(f"- {each}" for each in runs)


def proposed(row: Any, now: float) -> str:
    """What is asked before it is scheduled."""
    timing = Timing(row.expression, row.zone)
    return (
        f"Schedule this? **{timing.words}**, `{timing.zone}`:\n\n{fenced(row.text)}\n\n"
        f"It would run here, in your name, next on:\n\n{coming(timing, now)}"
    )


def scheduled(row: Any) -> str:
    """What the card says once it is confirmed."""
    timing = Timing(row.expression, row.zone)
    due = f" Next on {timing.shown(row.next_at)}." if row.next_at is not None else ""
    return (
        f"✓ Scheduled as number {row.number}: {timing.words}, `{timing.zone}`.{due} "
        f"`schedule pause {row.number}` and `schedule remove {row.number}` end that."
    )


def whole(row: Any, outcome: str | None, place: str, now: float) -> str:
    """All there is to say about one."""
    timing = Timing(row.expression, row.zone)
    runs = f"Next on:\n\n{coming(timing, now)}" if row.state == "active" else _state(row)
    return (
        f"{row.number}. **{timing.words}**, `{timing.zone}`, in {place}:\n\n"
        f"{fenced(row.text)}\n\n{runs}\n\n{_last(row, timing, outcome)}"
    )


def line(row: Any, outcome: str | None, place: str) -> str:
    """One of a list, for its owner."""
    timing = Timing(row.expression, row.zone)
    return (
        f"- **{row.number}** {shown(row.text)}: {timing.words}, `{timing.zone}`, in {place}. "
        f"{_next(row, timing)} {_last(row, timing, outcome)}"
    )


def others(row: Any, name: str) -> str:
    """One of a list, for an admin: not what is asked."""
    timing = Timing(row.expression, row.zone)
    return (
        f"- {shown(name)}, number {row.number}, `{row.id}`: {timing.words}, `{timing.zone}`, "
        f"on {row.platform}. {_next(row, timing)}"
    )


def _next(row: Any, timing: Timing) -> str:
    return f"Next {timing.shown(row.next_at)}." if row.next_at is not None else _state(row)


def _state(row: Any) -> str:
    if row.state == "over":
        return "It is not due again."
    return f"Paused: {plain(row.why)}." if row.why else "Paused."


_WORDS = {
    "queued": "waits for its turn",
    "running": "is running",
    "waiting": "waits for a decision",
    "done": "went well",
    "failed": "failed",
    "cancelled": "was stopped",
}


def _last(row: Any, timing: Timing, outcome: str | None) -> str:
    if row.last_at is None:
        last = "It has not run yet."
    else:
        how = _WORDS.get(outcome or "", "is forgotten")
        last = f"The run of {timing.shown(row.last_at)} {how}."
    return f"{last} Skipped since: {plain(row.skipped)}." if row.skipped else last
