"""When something is due: a cron line or hron's plain language, in a zone.

Neither library says anything about the other's way over a change of clocks; what they do is
written in docs/schedules.md and tested.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from hron import HronError, Schedule

from bridge.schedules import zones

LONGEST = 300
"""Characters of an expression."""
MOST_WORDS = 40
LOOKED_AT = 60
"""Runs whose distances are compared."""
EXAMPLES = (
    "It can be `every weekday at 9:00`, `every monday at 9:00`, `every day at 9:00, 17:30`, "
    "`every 2 hours from 8:00 to 18:00 on weekday`, `every month on the 1st at 9:00`, "
    "`on 2027-01-31 at 10:00`, or cron, such as `0 9 * * 1-5`."
)
SHORTCUTS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_CRON_BEGINS = re.compile(r"(?:[\d*/,-]+|@[A-Za-z]+)(?=\s|$)")
_QUOTED = re.compile(r"""\s*["“”„«»'‘’](.*?)["“”„«»'‘’](?=\s|[:,;]|$)""", re.DOTALL)
_BETWEEN = re.compile(r"\s*[:,;–—-]?\s+|\s+")


class NotATime(Exception):
    """What was given is no time, in words for who gave it."""


class Timing:
    """A time that comes again, or once. `expression` is how it is kept, `words` how it is read to
    people, `zone` the IANA zone whose clocks it goes by."""

    def __init__(self, expression: str, zone: str) -> None:
        """A zone in the expression comes before `zone`. Raises `NotATime`."""
        expression = " ".join(expression.split())
        self._plain: Schedule | None = None
        if _CRON_BEGINS.match(expression):
            self.expression, self.words = _cron(expression)
            self.zone = zone
        else:
            try:
                read = Schedule.parse(expression)
                if read.timezone is None:
                    read = Schedule(replace(read.data, timezone=zone))
            except HronError as error:
                raise NotATime(f"That is no time I can read: {error}.") from None
            self._plain = read
            self.zone = read.timezone or zone
            self.expression = self.words = str(Schedule(replace(read.data, timezone=None)))
        if zones.exact(self.zone) is None:
            raise NotATime(f"There is no time zone {self.zone}.")

    def runs(self, after: float) -> Iterator[float]:
        """When it is due after that moment: seconds since the epoch, always increasing."""
        last = after
        for due in self._moments(after):
            if due > last:
                yield due
                last = due

    def next(self, after: float) -> float | None:
        """None where it is never due again."""
        return next(self.runs(after), None)

    def closest(self, after: float) -> float | None:
        """The least number of seconds between two of its coming runs. An hour that the clocks
        skip or repeat does not count; None where there is but one run."""
        runs = list(islice(self.runs(after), LOOKED_AT))
        return min((max(b - a, self._by_clock(a, b)) for a, b in pairwise(runs)), default=None)

    def shown(self, at: float) -> str:
        """A moment by the clocks of its zone."""
        return f"{datetime.fromtimestamp(at, ZoneInfo(self.zone)):%a %d %b %Y, %H:%M}"

    def _by_clock(self, a: float, b: float) -> float:
        first, second = (datetime.fromtimestamp(t, ZoneInfo(self.zone)) for t in (a, b))
        return (second.replace(tzinfo=None) - first.replace(tzinfo=None)).total_seconds()

    def _moments(self, after: float) -> Iterator[float]:
        if self._plain is not None:
            for each in self._plain.occurrences(datetime.fromtimestamp(after, UTC)):
                yield each.timestamp()
        else:
            start = datetime.fromtimestamp(after, ZoneInfo(self.zone))
            for each in CronSim(self.expression, start):
                yield each.timestamp()


def read(said: str, zone: str) -> tuple[Timing, str]:
    """(when, what): the time at the beginning of what somebody wrote, as long as it can be, or in
    quotes; and what comes behind it. Raises `NotATime`."""
    if quoted := _QUOTED.match(said):
        if len(quoted[1]) > LONGEST:
            raise NotATime(f"A time has at most {LONGEST} characters.")
        return Timing(quoted[1], zone), _rest(said, quoted.end())
    ends = [word.end() for word in islice(re.finditer(r"\S+", said), MOST_WORDS)]
    if not ends:
        raise NotATime("Say when, and what is to be done.")
    if begins := _CRON_BEGINS.match(said.lstrip()):
        end = ends[0] if begins[0].startswith("@") else ends[min(4, len(ends) - 1)]
        if end > LONGEST:
            raise NotATime(f"A time has at most {LONGEST} characters.")
        return Timing(said[:end].rstrip(":;"), zone), _rest(said, end)
    found: tuple[Timing, int] | None = None
    trouble: NotATime | None = None
    for end in ends:
        if end > LONGEST:
            break
        try:
            found = Timing(said[:end].rstrip(":,;"), zone), end
        except NotATime as error:
            # The first that is wrong and not only unfinished.
            if trouble is None and "end of input" not in str(error):
                trouble = error
    if found is not None:
        return found[0], _rest(said, found[1])
    if trouble is None:
        trouble = NotATime("That time is not complete.")
    raise trouble


def _rest(said: str, end: int) -> str:
    gap = _BETWEEN.match(said, end)
    return said[gap.end() if gap else end :].strip()


def _cron(line: str) -> tuple[str, str]:
    """(the line of five fields, what it means)."""
    line = SHORTCUTS.get(line.lower(), line)
    if line.startswith("@"):
        raise NotATime(f"There is no such shortcut; there are {', '.join(SHORTCUTS)}.")
    if len(line.split()) != 5:
        raise NotATime("A cron line has five fields: minute, hour, day, month, day of the week.")
    try:
        return line, CronSim(line, datetime(2026, 1, 1, tzinfo=UTC)).explain()
    except CronSimError as error:
        raise NotATime(f"That is no cron line I can read: {error}.") from None
