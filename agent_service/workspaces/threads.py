"""Threads for what the disk makes slow, so that the event loop never waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """`quick` for a step on one file; `slow` for a whole tree, which never delays the former."""

    def __init__(self) -> None:
        self._quick = ThreadPoolExecutor(4, thread_name_prefix="files")
        self._slow = ThreadPoolExecutor(2, thread_name_prefix="trees")
        self.stopping = False

    async def quick(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await _finished(self._quick, lambda: fn(*args, **kwargs))

    async def slow(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await _finished(self._slow, lambda: fn(*args, **kwargs))

    def close(self) -> None:
        """Begin nothing more; what runs and looks at `stopping` comes to its end."""
        self.stopping = True
        self._quick.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)


async def _finished(threads: Executor, fn: Callable[[], T]) -> T:
    """Cancelled, it waits until the thread is done: the caller closes what the thread uses."""
    running = asyncio.get_running_loop().run_in_executor(threads, fn)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if not running.cancel():
            await asyncio.wait({running})
        raise
