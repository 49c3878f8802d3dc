"""What a deployment allows of schedules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """`zone` is of people who have set none; `minutes` lie between two runs of one schedule; a
    person has at most `most`; a run is at most `late_minutes` late."""

    zone: str = "UTC"
    minutes: int = 5
    most: int = 20
    late_minutes: int = 60
