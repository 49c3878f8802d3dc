"""The pool of sessions: its budget of memory, and who is closed to keep within it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_service.contract.turns import TurnRequest
from agent_service.policy.effective import Effective
from agent_service.sandbox import memory
from agent_service.turns.pool import BUSY, EXPECTED, STARTS_AT_ONCE, SessionPool
from agent_service.turns.port import Opening, SessionFailed, SessionItem
from agent_service.workspaces.directory import Workspace

MIB = 1024 * 1024


class Session:
    """One that holds what it is told to."""

    model = ""

    def __init__(self, closed: list[str], name: str, slow: dict[str, asyncio.Event]) -> None:
        self._slow = slow
        self.memory: int | None = None
        self.name = name
        self._closed = closed

    def charge(self, turn_id: str, person: str) -> None: ...

    async def prompt(self, request: TurnRequest) -> None: ...

    async def items(self) -> AsyncIterator[SessionItem]:
        return
        yield

    async def interrupt(self) -> None: ...

    async def govern(self, policy: Effective) -> None: ...

    async def close(self, *, at_once: bool = False) -> None:
        if (slow := self._slow.get(self.name)) is not None:
            await slow.wait()
        self._closed.append(self.name)


class House:
    """A pool, with a clock that is moved by hand."""

    def __init__(self, budget_mib: int, *, wait_seconds: float = 5) -> None:
        self.closed: list[str] = []
        self.slow: dict[str, asyncio.Event] = {}
        """Sessions that end only once this is set."""
        self.now = time.monotonic()
        self.broken = False
        self.pool = SessionPool(
            self._open, budget=budget_mib * MIB, idle_seconds=600, wait_seconds=wait_seconds,
            clock=lambda: self.now,
        )  # fmt: skip

    async def _open(self, opening: Opening) -> Session:
        return Session(self.closed, opening.conversation, self.slow)

    async def open(self, name: str, mib: int | None = None, *, idle: bool = False) -> Session:
        place = Workspace("w", *[Path("/nowhere")] * 3)
        opening = Opening(name, place, "s", resume=False, policy=Effective(), model=None)
        session = await self.pool.open(opening)
        assert isinstance(session, Session)
        session.memory = None if mib is None else mib * MIB
        if idle:
            self.now += 1
            await self.pool.rest(name)
        return session


async def test_the_longest_idle_makes_room() -> None:
    """A new session closes idle ones in the order in which they came to rest, no more than it
    takes."""
    house = House(1000)
    for name in ("a", "b", "c", "d"):
        await house.open(name, 170, idle=True)
    house.pool.take("a")
    house.now += 1
    await house.pool.rest("a")
    await house.open("e", 170)
    assert house.closed == []  # 4 of 170 and the 300 that are expected fit
    await house.open("f", 170)
    assert house.closed == ["b"]


async def test_what_is_not_known_counts_as_expected() -> None:
    """Sessions that nobody has measured yet are not taken for free."""
    house = House(2 * EXPECTED // MIB)
    await house.open("a")
    await house.open("b", idle=True)
    assert house.pool.held() == 2 * EXPECTED
    await house.open("c")
    assert house.closed == ["b"]


async def test_many_small_ones_fit() -> None:
    """What is measured counts, not how many there are."""
    house = House(1000)
    for number in range(60):
        await house.open(str(number), 10, idle=True)
    assert house.closed == []


async def test_one_is_always_possible() -> None:
    """A budget below one session does not end all work."""
    house = House(100)
    await house.open("a", 170, idle=True)
    await house.open("b", 170)
    assert house.closed == ["a"]


async def test_sessions_in_use_are_waited_for() -> None:
    """Where all are in use nobody is closed; the next one begins as soon as one comes to rest."""
    house = House(400)
    await house.open("a", 350)
    waiting = asyncio.create_task(house.open("b"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await house.pool.rest("a")
    async with asyncio.timeout(1):
        await waiting
    assert house.closed == ["a"]


async def test_memory_that_is_let_go_lets_the_next_begin() -> None:
    """Those who wait look again by themselves: nobody tells them when a build is over."""
    house = House(700)
    session = await house.open("a", 650)
    waiting = asyncio.create_task(house.open("b"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    session.memory = 200 * MIB
    async with asyncio.timeout(3):
        await waiting
    assert house.closed == []


async def test_who_waits_too_long_is_told() -> None:
    """After its time the turn fails with words for the person, and nothing was closed."""
    house = House(400, wait_seconds=0)
    await house.open("a", 350)
    with pytest.raises(SessionFailed, match="All agents of this deployment are busy"):
        await house.open("b")
    assert house.closed == []
    await house.pool.rest("a")
    await house.open("c", 100)  # and the one that gave up takes no room


async def test_one_that_grows_costs_idle_ones_only() -> None:
    """Over the budget, idle sessions are closed until it fits; those in use go on."""
    house = House(1000)
    grown = await house.open("a", 170)
    for name in ("b", "c", "d"):
        await house.open(name, 170, idle=True)
    grown.memory = 600 * MIB
    await house.pool.close_idle()
    assert house.closed == ["b"]
    grown.memory = 3000 * MIB
    await house.pool.close_idle()
    assert house.closed == ["b", "c", "d"]
    assert "a" in house.pool


async def test_idle_ones_are_closed_in_time() -> None:
    """Also where there is plenty of room."""
    house = House(100_000)
    await house.open("a", 170, idle=True)
    house.now += 599
    await house.open("b", 170, idle=True)
    await house.pool.close_idle()
    assert house.closed == ["a"]


def machine(root: Path, group: str, limits: dict[str, str]) -> Path:
    """The files by which a system says how much memory there is: 8 GiB, and these limits."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:        8388608 kB\nMemFree: 5 kB\n")
    (root / "proc/self/cgroup").write_text(group)
    for path, limit in limits.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(limit + "\n")
    return root


@pytest.mark.parametrize(
    ("group", "limits", "mib"),
    [
        ("", {}, 8192),
        ("0::/a/b\n", {"memory.max": "max"}, 8192),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": str(2048 * MIB)}, 2048),
        ("0::/\n", {"memory.max": str(1024 * MIB)}, 1024),
        ("0::/not/ours\n", {"memory.max": str(1024 * MIB)}, 1024),
        ("4:cpu:/\n3:memory:/x\n", {"memory/x/memory.limit_in_bytes": str(512 * MIB)}, 512),
        ("3:memory:/x\n", {"memory/x/memory.limit_in_bytes": str(2**63 - 4096)}, 8192),
    ],
)
def test_the_containers_limit_counts(
    tmp_path: Path, group: str, limits: dict[str, str], mib: int
) -> None:
    """The smallest limit of the groups above us, in both versions; else the machine's memory."""
    assert memory.there_is(machine(tmp_path, group, limits)) == mib * MIB


async def test_one_that_is_taken_meanwhile_is_not_closed() -> None:
    """A session that comes into use while another idle one is being closed stays open."""
    house = House(10_000)
    for name in "ab":
        await house.open(name)
        await house.pool.rest(name)
    house.now += 10_000
    house.slow["a"] = asyncio.Event()
    closing = asyncio.create_task(house.pool.close_idle())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert house.pool.take("b") is not None
    house.slow["a"].set()
    await closing
    assert house.closed == ["a"]


async def test_nobody_comes_before_the_last_one_is_gone() -> None:
    """A conversation's next session opens once the process of the one before has ended."""
    house = House(10_000)
    await house.open("a")
    house.slow["a"] = asyncio.Event()
    closing = asyncio.create_task(house.pool.discard("a"))
    await asyncio.sleep(0)
    opening = asyncio.create_task(house.open("a"))
    await asyncio.sleep(0.01)
    assert not opening.done()
    house.slow["a"].set()
    await closing
    await opening
    assert house.closed == ["a"]


async def test_three_start_at_once() -> None:
    """Of many that are asked for together three start; each that has started, or failed to, lets
    the next one begin, and all come up in the end."""
    starting: list[str] = []
    most = 0
    go = {str(number): asyncio.Event() for number in range(9)}

    async def begin(opening: Opening) -> Session:
        nonlocal most
        starting.append(opening.conversation)
        most = max(most, len(starting))
        try:
            await go[opening.conversation].wait()
        finally:
            starting.remove(opening.conversation)
        if opening.conversation == "1":
            raise SessionFailed(BUSY)
        return Session([], opening.conversation, {})

    pool = SessionPool(begin, budget=100 * EXPECTED, idle_seconds=600)
    place = Workspace("w", *[Path("/nowhere")] * 3)
    asked = [
        asyncio.create_task(
            pool.open(Opening(name, place, "s", resume=False, policy=Effective(), model=None))
        )
        for name in go
    ]
    for begun in range(STARTS_AT_ONCE, len(go) + STARTS_AT_ONCE):
        # Whoever could begin has begun after a few rounds of the loop: nothing waits for time.
        for _ in range(20):
            await asyncio.sleep(0)
        names = list(go)
        assert starting == names[begun - STARTS_AT_ONCE : begun]
        if begun - STARTS_AT_ONCE < len(names):
            go[names[begun - STARTS_AT_ONCE]].set()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert most == STARTS_AT_ONCE == 3
    assert [type(result) for result in results].count(SessionFailed) == 1
    assert len(pool) == 8
