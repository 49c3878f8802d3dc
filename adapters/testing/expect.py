"""What checks are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from adapters.contract import Adapter
from adapters.testing.harness import ConformanceError, Harness
from adapters.testing.host import RecordingHost

PATIENCE = 20.0
"""Seconds until something that must happen counts as missing."""
A_MOMENT = 0.15
"""Seconds in which something that must not happen may show."""


def must(true: object, promise: str) -> None:
    if not true:
        raise ConformanceError(promise)


async def until(host: RecordingHost, true: Callable[[], object], promise: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while not true():
                await host.changed()
    except TimeoutError:
        raise ConformanceError(promise) from None


async def texts(harness: Harness) -> list[str]:
    return [seen.text for seen in await harness.read("ann")]


def holding(texts: list[str], word: str) -> int:
    return sum(word in text for text in texts)


async def restarted(harness: Harness, host: RecordingHost) -> Adapter:
    await harness.stop()
    return await harness.start(host)
