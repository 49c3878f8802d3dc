"""Live sessions: within a budget of memory, closed when idle, started a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from agent_service.turns.port import (
    AgentSession,
    Ended,
    Opening,
    OwnSignIn,
    SessionFactory,
    SessionFailed,
)

_log = structlog.get_logger(__name__)

STARTS_AT_ONCE = 3
"""Ten starts at once take 7 s on two cores and make everybody wait."""
EXPECTED = 300 * 1024 * 1024
"""Bytes that a session counts as until it is known what it holds (110 MiB at its start, 331 after
60 turns with tools)."""
WAIT_SECONDS = 120
LOOK_SECONDS = 1.0
"""How often those who wait look again: sessions that run may have let go of some."""
BUSY = Ended(
    "failed",
    "start_failed",
    "All agents of this deployment are busy.",
    "Try again in a few minutes.",
)


class SessionPool:
    """Sessions by conversation. A conversation is used by one task at a time (its runner's)."""

    def __init__(
        self,
        factory: SessionFactory,
        *,
        budget: int,
        idle_seconds: float,
        wait_seconds: float = WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`budget`: bytes that all together should hold. Idle sessions are closed for it, those in
        use never are: each has its own limit. One session is always possible."""
        self._factory = factory
        self._budget = budget
        self._wait_seconds = wait_seconds
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._live: dict[str, AgentSession] = {}
        self._sign_ins: dict[str, OwnSignIn] = {}
        self._models: dict[str, str | None] = {}
        self._idle_since: dict[str, float] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
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
        """The live session for `interrupt` or `govern`, whoever uses it."""
        return self._live.get(conversation)

    def opened_for(self, conversation: str) -> tuple[str | None, OwnSignIn | None]:
        """Which model the live session was opened with, and whose own sign-in it runs on."""
        return self._models.get(conversation), self._sign_ins.get(conversation)

    def sign_ins(self) -> dict[str, OwnSignIn]:
        """Those of all live sessions, by conversation."""
        return dict(self._sign_ins)

    async def open(self, opening: Opening) -> AgentSession:
        """Open a session in use. Closes idle ones to make room, longest idle first, and waits
        where all are in use; raises `SessionFailed`."""
        if (closing := self._closing.get(opening.conversation)) is not None:
            await asyncio.wait({closing})  # two processes would fight over one transcript
        await self._make_room()
        try:
            async with self._starts:
                session = await self._factory(opening)
        finally:
            self._opening -= 1
        self._live[opening.conversation] = session
        self._models[opening.conversation] = opening.model
        if opening.sign_in is not None:
            self._sign_ins[opening.conversation] = opening.sign_in
        return session

    async def _make_room(self) -> None:
        deadline = self._clock() + self._wait_seconds
        while (self._live or self._opening) and self.held() + EXPECTED > self._budget:
            if self._idle_since:
                await self._close_oldest()
                continue
            left = deadline - self._clock()
            if left <= 0:
                raise SessionFailed(BUSY)
            with contextlib.suppress(TimeoutError):
                async with self._changed:
                    await asyncio.wait_for(self._changed.wait(), min(LOOK_SECONDS, left))
        self._opening += 1

    def held(self) -> int:
        """Bytes that all sessions hold for themselves, with what is expected of new ones."""
        known = (session.memory for session in self._live.values())
        return sum(EXPECTED if m is None else m for m in known) + self._opening * EXPECTED

    async def _close_oldest(self) -> None:
        oldest = min(self._idle_since, key=lambda c: self._idle_since[c])
        _log.info("session.closed_for_room", conversation=oldest, held_mib=self.held() // 2**20)
        await self._close(oldest)

    async def rest(self, conversation: str) -> None:
        """The session is idle now and may be closed to make room."""
        if conversation in self._live:
            self._idle_since[conversation] = self._clock()
        async with self._changed:
            self._changed.notify()

    async def discard(self, conversation: str, *, at_once: bool = False) -> None:
        """Close a session and wait until its process is gone."""
        await self._close(conversation, at_once=at_once)
        async with self._changed:
            self._changed.notify()

    async def _close(self, conversation: str, *, at_once: bool = False) -> None:
        self._idle_since.pop(conversation, None)
        session = self._live.pop(conversation, None)
        self._sign_ins.pop(conversation, None)
        self._models.pop(conversation, None)
        if session is None:
            if (closing := self._closing.get(conversation)) is not None:
                await asyncio.wait({closing})
            return
        closing = asyncio.create_task(session.close(at_once=at_once))
        self._closing[conversation] = closing
        try:
            await asyncio.shield(closing)
        finally:
            if self._closing.get(conversation) is closing:
                del self._closing[conversation]

    async def close_idle(self) -> None:
        """Close the sessions that have been idle for too long, and others while all together hold
        more than the budget. Called now and then."""
        limit = self._clock() - self._idle_seconds
        for conversation in list(self._idle_since):
            # It may have been taken into use while another was being closed.
            since = self._idle_since.get(conversation)
            if since is not None and since <= limit:
                _log.info("session.idle_closed", conversation=conversation)
                await self.discard(conversation)
        while self._idle_since and self.held() > self._budget:
            await self._close_oldest()

    async def close_all(self) -> None:
        """Close everything; afterwards no process of a session is left."""
        await asyncio.gather(*(self._close(c) for c in list(self._live)))
