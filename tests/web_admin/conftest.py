"""The web admin with everything real behind it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent_service.testing import ScriptedMessages
from bridge import log
from bridge.home import prepare
from tests.web_admin.pages_house import PagesHouse, Visitor


@pytest.fixture(scope="session")
def fresh_home() -> Iterator[Path]:
    """A home whose databases have their tables: to make them takes longer than most tests."""
    path = Path(tempfile.mkdtemp(prefix="bsc-"))
    prepare(path)

    async def once() -> None:
        made = PagesHouse(path)
        await made.start_agent()
        await made.open()
        await made.shut()
        await made.stop()

    asyncio.run(once())
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def home(fresh_home: Path) -> Iterator[Path]:
    """A deployment's home whose path is short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="bsc-"))
    shutil.rmtree(path)
    shutil.copytree(fresh_home, path)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def house(home: Path) -> AsyncIterator[PagesHouse]:
    """Everything up."""
    log.configure("human", "info")
    async with ScriptedMessages() as model:
        made = PagesHouse(home)
        made.use_model(model.url)
        await made.start_agent()
        await made.open()
        yield made
        await made.shut()
        await made.stop()


@pytest.fixture
async def olga(house: PagesHouse) -> Visitor:
    """The operator, who claimed the deployment on the pages."""
    return await house.claimed()
