"""The real bridge on a real database, a chat platform in memory, the scripted agent service."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from adapters.contract import Sender
from bridge import log
from bridge.home import prepare
from tests.bridge.house import STRANGER, House, until


@pytest.fixture
def home() -> Iterator[Path]:
    """A deployment's home whose path is short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="bsc-"))
    prepare(path)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def house(home: Path) -> AsyncIterator[House]:
    """Everything made, the agent service up, the bridge not started."""
    log.configure("human", "info")
    made = House(home)
    await made.start_agent()
    yield made
    await made.stop()
    assert made.agent.refused == []
    assert made.agent.overlaps == 0


@pytest.fixture
async def up(house: House) -> House:
    """The bridge started."""
    await house.start()
    return house


@pytest.fixture
def wait() -> Callable[..., Awaitable[None]]:
    return until


@pytest.fixture
def stranger() -> Sender:
    return STRANGER
