"""Live sessions: at most so many, closed when idle, started a few at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from agent_service.turns.port import AgentSession, Ended, Opening, SessionFactory, SessionFailed

_log = structlog.get_logger(__name__)

STARTS_AT_ONCE = 3
"""Ten starts at once take 7 s on two cores and make everybody wait."""


class SessionPool:
    """Sessions by conversation. A conversation is used by one task at a time (its runner's)."""

    def __init__(
        self,
        factory: SessionFactory,
        *,
        max_live: int,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._factory = factory
        self._max_live = max_live
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._live: dict[str, AgentSession] = {}
        self._idle_since: dict[str, float] = {}
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._changed = asyncio.Condition()
        self._opening = 0

    def __contains__(self, conversation: str) -> bool:
        return conversation in self._live

    def __len__(self) -> int:
        return len(self._live)

    def take(self, conversation: str) -> AgentSession | None:
        """The live session for use, or None. Give it back with `rest` or `discard`."""
        self._idle_since.pop(conversation, None)
        return self._live.get(conversation)

    def peek(self, conversation: str) -> AgentSession | None:
        """The live session for `interrupt` or `set_mode`, whoever uses it."""
        return self._live.get(conversation)

    async def open(self, opening: Opening) -> AgentSession:
        """Open a session in use. Waits for room; raises `SessionFailed`."""
        await self._make_room()
        try:
            async with self._starts:
                session = await self._factory(opening)
        finally:
            self._opening -= 1
        self._live[opening.conversation] = session
        return session

    async def _make_room(self) -> None:
        async with self._changed:
            while len(self._live) + self._opening >= self._max_live:
                if self._idle_since:
                    oldest = min(self._idle_since, key=lambda c: self._idle_since[c])
                    await self._close(oldest)
                    continue
                try:
                    await asyncio.wait_for(self._changed.wait(), 120)
                except TimeoutError:
                    raise SessionFailed(
                        Ended(
                            "failed",
                            "start_failed",
                            "All agents of this deployment are busy.",
                            "Try again in a few minutes.",
                        )
                    ) from None
            self._opening += 1

    async def rest(self, conversation: str) -> None:
        """The session is idle now and may be closed to make room."""
        if conversation in self._live:
            self._idle_since[conversation] = self._clock()
        async with self._changed:
            self._changed.notify()

    async def discard(self, conversation: str) -> None:
        """Close a session and wait until its process is gone."""
        await self._close(conversation)
        async with self._changed:
            self._changed.notify()

    async def _close(self, conversation: str) -> None:
        self._idle_since.pop(conversation, None)
        session = self._live.pop(conversation, None)
        if session is not None:
            await session.close()

    async def close_idle(self) -> None:
        """Close the sessions that have been idle for too long. Called now and then."""
        limit = self._clock() - self._idle_seconds
        for conversation in [c for c, since in self._idle_since.items() if since <= limit]:
            _log.info("session.idle_closed", conversation=conversation)
            await self.discard(conversation)

    async def close_all(self) -> None:
        """Close everything; afterwards no process of a session is left."""
        await asyncio.gather(*(self._close(c) for c in list(self._live)))
