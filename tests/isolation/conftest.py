"""Worlds that differ in the sandbox alone, and one in which the agent runs on a person's own
sign-in; every probe is tried once in each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.isolation.signed_in import SignedInWorld
from tests.isolation.world import World


async def _world(kind: type[World] = World, *, sandboxed: bool) -> AsyncIterator[World]:
    made = kind(sandboxed=sandboxed)
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_sign_in() -> AsyncIterator[World]:
    """After the probes of the box were tried in it, on a person's own sign-in."""
    async for world in _world(SignedInWorld, sandboxed=True):
        yield world
