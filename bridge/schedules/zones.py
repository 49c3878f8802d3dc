"""Time zones by the names people write."""

from __future__ import annotations

import difflib
from functools import cache
from zoneinfo import available_timezones

MOST_NEAR = 4


def exact(name: str) -> str | None:
    """The IANA name as it is spelt; None for what is no `Area/Location` and not `UTC`."""
    return _by_folded().get(name.strip().casefold())


def named(words: str) -> str | None:
    """A zone by its name, or by its city where no other zone has it: `new york`."""
    wanted = words.strip().casefold().replace(" ", "_")
    return exact(wanted) or _by_city().get(wanted)


def near(words: str) -> list[str]:
    """Zones whose names, or cities, are almost that; the nearest first."""
    wanted = words.strip().casefold().replace(" ", "_")[:80]
    known = {**_by_city(), **_by_folded()}
    found = difflib.get_close_matches(wanted, known, MOST_NEAR, cutoff=0.7)
    return list(dict.fromkeys(known[each] for each in found))


@cache
def _by_folded() -> dict[str, str]:
    names = (name for name in available_timezones() if "/" in name or name == "UTC")
    return {name.casefold(): name for name in sorted(names)}


@cache
def _by_city() -> dict[str, str]:
    """Names of places that only one zone has; `Etc/…` and the like name none."""
    cities: dict[str, list[str]] = {}
    for folded, name in _by_folded().items():
        if not folded.startswith("etc/"):
            cities.setdefault(folded.rpartition("/")[2], []).append(name)
    return {city: names[0] for city, names in cities.items() if len(names) == 1}
