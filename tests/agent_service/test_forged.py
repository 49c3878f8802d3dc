"""Answers to decisions that are none: noted, and never more of them than the log can bear."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from agent_service.policy.forged import AN_HOUR, BURST, MOST, OTHERS, Forged
from agent_service.store import audit
from agent_service.store.database import Database


class Noted:
    """The log, with a clock that is moved by hand."""

    def __init__(self, home: Path) -> None:
        self.database = Database(home / "agent.db")
        self.now = 1_000_000.0
        self.forged = Forged(self.database, clock=lambda: self.now)

    async def entries(self) -> list[tuple[str, str, int]]:
        """(who, which decision, how many before that have no entry)."""
        found, after = [], 0
        while page := await self.database.tx(audit.page, after):
            found += [(e.actor, e.subject, int(e.detail.get("unnamed_before", 0))) for e in page]
            after = page[-1].seq
        return found


@pytest_asyncio.fixture
async def noted(tmp_path: Path) -> AsyncIterator[Noted]:
    made = Noted(tmp_path)
    await made.database.open()
    yield made
    await made.database.close()


async def test_each_is_noted_until_there_are_too_many(noted: Noted) -> None:
    """The first ones stand there by name; of a flood the rest is a number in the next entry, and
    nobody else's entry is lost for it."""
    for number in range(BURST + 500):
        await noted.forged.note(f"d_{number}", "slack:t:eve")
    await noted.forged.note("d_1", "slack:t:bob")
    found = await noted.entries()
    assert found[:BURST] == [("slack:t:eve", f"d_{n}", 0) for n in range(BURST)]
    assert found[BURST:] == [("slack:t:bob", "d_1", 0)]
    noted.now += 3600 / AN_HOUR
    await noted.forged.note("d_next", "slack:t:eve")
    assert (await noted.entries())[-1] == ("slack:t:eve", "d_next", 500)


async def test_many_accounts_share_what_is_left(noted: Noted) -> None:
    """However many accounts try, the log grows by what so many may have, and the memory too; an
    account that has been quiet makes room."""
    for number in range(MOST + 50):
        await noted.forged.note("d_0", f"slack:t:{number}")
    assert len(await noted.entries()) == MOST + BURST
    assert len(noted.forged._measures) == MOST + 1
    noted.now += 3600 * 24
    await noted.forged.note("d_0", "slack:t:late")
    assert (await noted.entries())[-1] == ("slack:t:late", "d_0", 0)
    assert len(noted.forged._measures) <= 3
    assert OTHERS in noted.forged._measures
