"""What a conversation has used, and what the requests under way may add to it."""

from __future__ import annotations

import asyncio


class Spend:
    """One a conversation, for the life of the service: a session that is started anew goes on
    with it."""

    def __init__(self, usd: float = 0.0) -> None:
        """`usd`: what it had used before."""
        self.usd = usd
        self._reserved = 0.0
        self._under_way = 0
        self._changed = asyncio.Event()

    async def begin(self, most_usd: float, cap_usd: float | None) -> bool:
        """A request that may cost this much may begin; `end` it. False where the cap is used up.

        It waits where those under way may use up the rest, so that at most one answer crosses the
        cap.
        """
        if cap_usd is not None:
            while self._under_way and self.usd + self._reserved >= cap_usd:
                self._changed.clear()
                await self._changed.wait()
            if self.usd >= cap_usd:
                return False
        self._under_way += 1
        self._reserved += most_usd
        return True

    def end(self, most_usd: float) -> None:
        """A request that had begun is over, and accounted for."""
        self._under_way -= 1
        self._reserved = self._reserved - most_usd if self._under_way else 0.0
        self._changed.set()
