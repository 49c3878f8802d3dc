"""What comes from Discord, channel by channel, each in its order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog

log = structlog.get_logger()
Work: TypeAlias = Callable[[], Awaitable[None]]


class Lanes:
    """Work of one lane is done one after another, of different lanes at once. Nothing begins
    while it is held: then what was missed can be put before what comes now."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Work]] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._go = asyncio.Event()
        self._go.set()
        self._over = False

    def put(self, lane: int, work: Work) -> None:
        """At the lane's end. Returns at once."""
        self._waiting.setdefault(lane, deque()).append(work)
        self._start(lane)

    def put_first(self, lane: int, work: Work) -> None:
        """Before all that has not begun."""
        self._waiting.setdefault(lane, deque()).appendleft(work)
        self._start(lane)

    def hold(self) -> None:
        """Until `release`, nothing more begins."""
        self._go.clear()

    def release(self) -> None:
        self._go.set()

    async def stop(self) -> None:
        """What is under way is cancelled, what waits is dropped."""
        self._over = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, lane: int) -> None:
        if not self._over and lane not in self._running:
            self._running[lane] = asyncio.create_task(self._run(lane))

    async def _run(self, lane: int) -> None:
        waiting = self._waiting[lane]
        try:
            while waiting:
                await self._go.wait()
                work = waiting.popleft()
                try:
                    await work()
                except Exception:
                    log.exception("something from Discord could not be taken")
        finally:
            del self._running[lane]
            if not waiting:
                self._waiting.pop(lane, None)
