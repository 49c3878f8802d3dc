"""What the agent does, for people: one line about now, and steps that do not fill the thread."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.contract import FOLDED, Step
from agent_service.contract.events import ToolStarted

MOST_STEPS = 8
"""Finished steps that are shown one by one."""
NEWEST = 3
"""Of more, so many are, as long as the turn goes on."""
LONGEST = 100
ELAPSED_FROM = 3.0
"""Seconds after which it is said how long it has been going on."""
_DOING = {
    "Bash": "Running",
    "Read": "Reading",
    "Write": "Writing",
    "Edit": "Changing",
    "Glob": "Looking for",
    "Grep": "Searching for",
    "WebFetch": "Fetching",
    "WebSearch": "Searching the web for",
    "Agent": "Having a helper",
    "Task": "Having a helper",
}


def folded(steps: Sequence[Step], *, over: bool) -> tuple[Step, ...]:
    """The steps of a post; where many ended well, one stands for them. What failed, runs or waits
    is always shown by itself."""
    done = [step for step in steps if step.state == "done"]
    if len(done) <= MOST_STEPS:
        return tuple(steps)
    gone = {step.id for step in (done if over else done[:-NEWEST])}
    kept = [step for step in steps if step.id not in gone or step.state != "done"]
    return (Step(FOLDED, f"{len(gone)} steps", "done"), *kept)


def doing(event: ToolStarted) -> str:
    """What goes on while this runs, such as `Running npm test`."""
    title = event.title
    for lead in (f"{event.tool}: ", f"{event.tool} "):
        if title.startswith(lead) and event.tool in _DOING:
            title = f"{_DOING[event.tool]} {title.removeprefix(lead)}"
            break
    return title if len(title) <= LONGEST else title[: LONGEST - 1] + "…"


def status_line(what: str, seconds: float, steps: int) -> str:
    """Such as `Running npm test · 1 min 20 s · 4 steps`."""
    parts = [what]
    if seconds >= ELAPSED_FROM:
        parts.append(lasted(seconds))
    if steps:
        parts.append(f"{steps} step{'s' if steps > 1 else ''}")
    return " · ".join(parts)


def lasted(seconds: float) -> str:
    """A duration, as exact as anybody wants to read it."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
