"""Two worlds that differ in the sandbox alone; every probe is tried once in each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.isolation.world import World


async def _world(*, sandboxed: bool) -> AsyncIterator[World]:
    made = World(sandboxed=sandboxed)
    await made.start()
    try:
        await made.run()
        yield made
    finally:
        await made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandboxed() -> AsyncIterator[World]:
    """After every probe was tried in the sandbox."""
    async for world in _world(sandboxed=True):
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unprotected() -> AsyncIterator[World]:
    """After every probe was tried without."""
    async for world in _world(sandboxed=False):
        yield world
