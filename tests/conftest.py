"""What tests of the whole path share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_service.testing import ScriptedMessages
from tests.deployment import Deployment


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder with a short path: Unix sockets have room for 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="bsc-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest_asyncio.fixture
async def up(place: Path) -> AsyncIterator[Deployment]:
    """A running deployment; afterwards nothing of it is left."""
    async with ScriptedMessages() as model:
        made = Deployment(place, model)
        await made.start()
        yield made
        await made.stop()
        await made.nothing_left()
