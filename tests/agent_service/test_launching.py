"""Starts of sessions that fail half way, and sessions that nobody watches any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_service.broker.broker import Broker
from agent_service.broker.prices import PriceTable
from agent_service.broker.purses import Purses
from agent_service.broker.rules import Rules
from agent_service.credentials.keyring import Key
from agent_service.egress.exits import Exits
from agent_service.egress.hosts import Hosts
from agent_service.egress.proxy import Network
from agent_service.sandbox.launcher import FOLDER, House, Launcher
from agent_service.sandbox.limits import Limits
from agent_service.store.database import Database
from agent_service.workspaces.directory import Workspace


def no_key(_person: str) -> Key:
    raise AssertionError


async def nothing_spent(_conversation: str) -> float:
    return 0.0


async def nobody_spent(_person: str | None, _since: float) -> float:
    return 0.0


@pytest_asyncio.fixture
async def broker() -> AsyncIterator[Broker]:
    made = Broker(
        no_key,
        Rules((), 1),
        PriceTable({}),
        lambda _answered: None,
        nothing_spent,
        Purses(nobody_spent),
    )
    yield made
    await made.close()


def launcher(place: Path, broker: Broker) -> Launcher:
    exits = Exits(Hosts(Database(place / "unused"), []), lambda *_: None, Network())
    house = House(
        home=place, run_dir=place / "run", cli=Path("/bin/true"), limits=Limits(),
        sandboxed=True, cap_usd=None, exits=exits,
    )  # fmt: skip
    return Launcher(house, broker)


async def test_a_start_that_fails_leaves_nothing(place: Path, broker: Broker) -> None:
    """No token, no socket that listens, no folder; noticed once gate and proxy are there."""
    (place / "file").touch()
    made = launcher(place, broker)
    with pytest.raises(OSError, match="Not a directory"):
        await made.launch("c", Workspace("w", place / "work", place / "file" / "c", place), {})
    assert broker.tokens() == []
    assert list((place / "run" / FOLDER).iterdir()) == []
    listening = Path("/proc/net/unix").read_text()
    assert str(place) not in listening


async def test_a_start_that_is_cancelled_leaves_nothing(place: Path, broker: Broker) -> None:
    """At whatever moment it is."""
    made = launcher(place, broker)
    workspace = Workspace("w", place / "work", place / "config", place)
    for turns in range(12):
        starting = asyncio.create_task(made.launch("c", workspace, {}))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).close()
    assert broker.tokens() == []
    assert list((place / "run" / FOLDER).iterdir()) == []
    assert str(place) not in Path("/proc/net/unix").read_text()
