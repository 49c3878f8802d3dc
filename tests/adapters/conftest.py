"""Discord for the tests of its adapter: the double, the real adapter, a host that remembers."""

from __future__ import annotations

import pytest

from adapters.testing import RecordingHost
from tests.adapters.discord_double.double import Double
from tests.adapters.discord_harness import DiscordHarness


@pytest.fixture
async def double():
    async with Double() as made:
        yield made


@pytest.fixture
async def harness(double):
    made = DiscordHarness(double, direct=False)
    yield made
    await made.close()


@pytest.fixture
def host():
    return RecordingHost()
