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
from tests.bridge.postgres import Postgres, running_postgres


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module that says `POSTGRES_TOO` runs on both databases: "quick" always, "full" on
    PostgreSQL only with the full counts."""
    tier = getattr(metafunc.module, "POSTGRES_TOO", None)
    if tier is not None and "database" in metafunc.fixturenames:
        marks = [pytest.mark.full] if tier == "full" else []
        both = ["sqlite", pytest.param("postgres", marks=marks)]
        metafunc.parametrize("database", both, indirect=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """A deployment's home whose path is short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="bsc-"))
    prepare(path)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this test process."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A database of its own, with this release's tables."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """The bridge's database: SQLite in its home, or one on PostgreSQL."""
    if getattr(request, "param", "sqlite") == "postgres":
        return request.getfixturevalue("postgres_url")
    return ""


@pytest.fixture
async def house(home: Path, database: str) -> AsyncIterator[House]:
    """Everything made, the agent service up, the bridge not started."""
    log.configure("human", "info")
    made = House(home, database)
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
