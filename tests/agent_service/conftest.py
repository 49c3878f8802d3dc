"""A real agent service in this process, the real CLI, and a scripted model on loopback."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Agent, make_home, session_processes
from tests.agent_service.process import ProcessAgent


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with a short path: Unix sockets have room for 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="bsc-"))
    yield make_home(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest_asyncio.fixture
async def model() -> AsyncIterator[ScriptedMessages]:
    async with ScriptedMessages() as server:
        yield server


@pytest_asyncio.fixture
async def agent(home: Path, model: ScriptedMessages) -> AsyncIterator[Agent]:
    """A service of this test's own."""
    made = Agent(home, model)
    await made.start()
    yield made
    await made.stop()
    assert session_processes(home) == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Agent]:
    """One service and one warm CLI for a whole module: a start costs most of a second."""
    path = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    async with ScriptedMessages() as server:
        made = Agent(path, server)
        await made.start()
        yield made
        await made.stop()
    assert session_processes(path) == []
    shutil.rmtree(path, ignore_errors=True)


@pytest_asyncio.fixture
async def process(home: Path, model: ScriptedMessages) -> AsyncIterator[ProcessAgent]:
    """A service of this test's own that is a real process."""
    made = ProcessAgent(home, model)
    await made.start()
    yield made
    await made.stop()
    await made.no_sessions()
