"""Messages that this process has just stored: nothing can have been posted about them before."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

MOST = 20_000
PATIENCE = 2.0
"""Seconds to wait for the bridge to say whether a message is new."""


class Arrivals:
    """The bridge begins to answer before it has said that it stored a message, so whoever answers
    waits for that word."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._coming: dict[str, asyncio.Event] = {}
        self._stored: OrderedDict[str, float] = OrderedDict()

    def coming(self, message_key: str) -> None:
        """It is handed over now."""
        self._coming[message_key] = asyncio.Event()

    def over(self, message_key: str, new: bool) -> None:
        """The bridge stored it, or knew it, or could not store it."""
        if new:
            self._stored[message_key] = self._clock()
            if len(self._stored) > MOST:
                self._stored.popitem(last=False)
        if (waiting := self._coming.pop(message_key, None)) is not None:
            waiting.set()

    async def age(self, message_key: str) -> float:
        """Seconds since this process stored the message; infinite for any other."""
        if (waiting := self._coming.get(message_key)) is not None:
            try:
                async with asyncio.timeout(PATIENCE):
                    await waiting.wait()
            except TimeoutError:
                pass
        stored = self._stored.get(message_key)
        return float("inf") if stored is None else self._clock() - stored
