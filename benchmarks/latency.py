"""A message through the whole path against a bare client: warm, new, resumed, warmed ahead."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from pathlib import Path

from benchmarks import bare
from benchmarks.house import House, running_house
from benchmarks.report import Figure, Ratio

TEXT = "say hello"
LIVE = 8
"""Sessions whose memory is measured."""


async def measure(warm_pairs: int, new_pairs: int) -> list[Ratio | Figure]:
    """Interleaved pairs, so that a slow moment of the machine meets both."""
    with tempfile.TemporaryDirectory(prefix="bench-bare-") as folder:
        work = Path(folder) / "work"
        async with running_house() as house:
            sandboxed = await _all(house, work, warm_pairs, new_pairs)
            memory = await _memory(house, work)
        async with running_house(AGENT_SANDBOX="off") as house:
            without = await _all(house, work, warm_pairs, new_pairs)
        for ratio in without:
            ratio.name += ", AGENT_SANDBOX=off"
        pairs = zip(sandboxed, without, strict=True)
        return [*(ratio for pair in pairs for ratio in pair), *memory]


async def _all(house: House, work: Path, warm_pairs: int, new_pairs: int) -> list[Ratio]:
    return [await _warm(house, work, warm_pairs), *await _starts(house, work, new_pairs)]


async def _memory(house: House, work: Path) -> list[Ratio | Figure]:
    """Of several sessions at once: what they have in common is counted for none of them."""
    memory = Ratio("Private memory of an idle session", 1.1, "MiB")
    await house.session("close", "warm")
    async with contextlib.AsyncExitStack() as clients:
        for number in range(LIVE):
            client = await clients.enter_async_context(bare.connected(work, house.model_url))
            await bare.first_word(client, TEXT)
            await house.message(TEXT, f"memory{number}")
        memory.add(bare.memory() / LIVE, house.memory() / LIVE)
    fit = 1024**3 / memory.ours[0]
    return [memory, Figure("Idle sessions a GiB", f"{fit:.1f}", "", True, LIVE)]


async def _warm(house: House, work: Path, pairs: int) -> Ratio:
    warm = Ratio("Warm turn: submit to first word", 1.3)
    async with bare.connected(work, house.model_url) as client:
        for number in range(pairs + 2):
            a = await bare.first_word(client, TEXT)
            b = await house.message(TEXT, "warm")
            if number >= 2:  # the first turns fill caches on both sides
                warm.add(a, b)
    return warm


async def _starts(house: House, work: Path, pairs: int) -> list[Ratio]:
    new = Ratio("New conversation: submit to first word", 1.5)
    resumed = Ratio("Resumed conversation: submit to first word", 1.5)
    ahead = Ratio("Resumed, and warmed ahead", 0.5)
    for number in range(pairs + 1):
        name, session = f"new{number}", str(uuid.uuid4())
        a = await bare.new_session(work, house.model_url, TEXT, session_id=session)
        b = await house.message(TEXT, name)
        await house.session("close", name)
        c = await bare.new_session(work, house.model_url, TEXT, resume=session)
        d = await house.message(TEXT, name)
        await house.session("close", name)
        await house.session("warm", name)
        await house.until_warm(name)
        e = await house.message(TEXT, name)
        await house.session("close", name)
        if number >= 1:
            new.add(a, b)
            resumed.add(c, d)
            ahead.add(c, e)
    return [new, resumed, ahead]
