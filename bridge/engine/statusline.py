"""The line beside a conversation that says what goes on, where a platform has one."""

from __future__ import annotations

import asyncio
from typing import Literal

import structlog

from adapters.contract import Adapter, Address, Reacts, Status

log = structlog.get_logger()
Mark = Literal["queued", "working", "done", "failed"]


class StatusLines:
    """Status and marks of all conversations. Calls return at once and never fail; the platform
    hears them in order, and only the newest when it is slow."""

    def __init__(self) -> None:
        self._wanted: dict[tuple[str, Address, str], tuple[Adapter, str]] = {}
        self._tasks: dict[tuple[str, Address, str], asyncio.Task[None]] = {}

    def show(self, adapter: Adapter, at: Address, text: str) -> None:
        """Show `text`; an empty one clears the line."""
        if isinstance(adapter, Status):
            self._set(adapter, at, "", text)

    def mark(self, adapter: Adapter, at: Address, message_key: str, mark: Mark) -> None:
        """Put a mark on the sender's message."""
        if isinstance(adapter, Reacts):
            self._set(adapter, at, message_key, mark)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _set(self, adapter: Adapter, at: Address, key: str, value: str) -> None:
        place = (adapter.name, at, key)
        self._wanted[place] = (adapter, value)
        if place not in self._tasks:
            self._tasks[place] = asyncio.create_task(self._bring(place))

    async def _bring(self, place: tuple[str, Address, str]) -> None:
        _, at, key = place
        shown: str | None = None
        try:
            while (wanted := self._wanted[place])[1] != shown:
                adapter, value = wanted
                try:
                    async with asyncio.timeout(10):
                        await _tell(adapter, at, key, value)
                except Exception as error:  # noqa: BLE001 - never worth more than a log line
                    log.debug("status not shown", adapter=adapter.name, error=str(error))
                shown = value
        finally:
            del self._tasks[place], self._wanted[place]


async def _tell(adapter: Adapter, at: Address, key: str, value: str) -> None:
    if not key:
        assert isinstance(adapter, Status)  # noqa: S101 - `show` looked
        await adapter.status(at, value)
    elif isinstance(adapter, Reacts):
        await adapter.react(at, key, value)  # type: ignore[arg-type]
