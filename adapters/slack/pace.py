"""How fast Slack bears calls: so many a channel, so many a workspace."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

Kind = Literal["post", "edit", "append", "start", "mark", "unmark", "read"]
_A_MINUTE: dict[Kind, float] = {
    "post": 300,
    "edit": 50,
    "append": 100,
    "start": 20,
    "mark": 50,
    "unmark": 20,
    "read": 45,
}
"""Calls a minute for the whole workspace, as Slack's documentation has them."""
_AT_ONCE: dict[Kind, int] = {
    "post": 30,
    "edit": 20,
    "append": 30,
    "start": 10,
    "mark": 20,
    "unmark": 15,
    "read": 20,
}
CHANNEL_A_SECOND = 1.0
CHANNEL_AT_ONCE = 4
MOST_CHANNELS = 5_000


class _Bucket:
    """Places are given in order; one that is asked for is used."""

    def __init__(self, a_second: float, at_once: int) -> None:
        self._gap = 1 / a_second
        self._room = self._gap * (at_once - 1)
        self._next = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until a place would be free."""
        return max(self._next - self._room - now, 0.0)

    def take(self, now: float) -> None:
        self._next = max(self._next, now) + self._gap

    def block(self, until: float) -> None:
        self._next = max(self._next, until + self._room)


class Pace:
    """Waits before a call, so that Slack has no reason to refuse it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds = {
            kind: _Bucket(_A_MINUTE[kind] / 60, at_once) for kind, at_once in _AT_ONCE.items()
        }
        self._channels: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, kind: Kind, channel: str = "") -> float:
        """Seconds that `turn` would wait now."""
        now = self._clock()
        return max(bucket.wait(now) for bucket in self._buckets(kind, channel))

    async def turn(self, kind: Kind, channel: str = "") -> None:
        """Returns when the call may be made; in the order in which it was asked for."""
        now = self._clock()
        buckets = self._buckets(kind, channel)
        wait = max(bucket.wait(now) for bucket in buckets)
        for bucket in buckets:
            bucket.take(now)
        if wait:
            await asyncio.sleep(wait)

    def block(self, kind: Kind, seconds: float) -> None:
        """Slack said for how long it wants no more of these."""
        self._kinds[kind].block(self._clock() + seconds)

    def _buckets(self, kind: Kind, channel: str) -> list[_Bucket]:
        found = [self._kinds[kind]]
        if kind == "post" and channel:
            bucket = self._channels.pop(channel, None)
            self._channels[channel] = bucket or _Bucket(CHANNEL_A_SECOND, CHANNEL_AT_ONCE)
            if len(self._channels) > MOST_CHANNELS:
                self._channels.popitem(last=False)
            found.append(self._channels[channel])
        return found
