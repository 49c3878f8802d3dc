"""The Discord adapter keeps every promise of the port."""

from __future__ import annotations

import pytest

from adapters.testing import CHECKS
from tests.adapters.discord_harness import discord_adapter


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance_in_a_thread(check) -> None:
    """The suite that every adapter must pass, in a thread of a server."""
    async with discord_adapter() as harness:
        await check(harness)


@pytest.mark.full
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance_in_direct_messages(check) -> None:
    """The same, where somebody writes to the bot directly."""
    async with discord_adapter(direct=True) as harness:
        await check(harness)
