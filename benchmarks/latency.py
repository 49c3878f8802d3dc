"""A message through the whole path against a bare client: warm, new, resumed, warmed ahead."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

from benchmarks import bare
from benchmarks.house import House, running_house
from benchmarks.report import Ratio

TEXT = "say hello"


async def measure(warm_pairs: int, new_pairs: int) -> list[Ratio]:
    """Interleaved pairs, so that a slow moment of the machine meets both."""
    with tempfile.TemporaryDirectory(prefix="bench-bare-") as folder:
        work = Path(folder) / "work"
        async with running_house() as house:
            warm, memory = await _warm(house, work, warm_pairs)
            starts = await _starts(house, work, new_pairs)
        async with running_house(AGENT_SANDBOX="off") as house:
            bare_of_it, _ = await _warm(house, work, warm_pairs)
            bare_of_it.name += ", AGENT_SANDBOX=off"
        return [warm, bare_of_it, *starts, memory]


async def _warm(house: House, work: Path, pairs: int) -> tuple[Ratio, Ratio]:
    warm = Ratio("Warm turn: submit to first word", 1.3)
    memory = Ratio("Private memory of an idle session", 1.1, "MiB")
    async with bare.connected(work, house.model_url) as client:
        for number in range(pairs + 2):
            a = await bare.first_word(client, TEXT)
            b = await house.message(TEXT, "warm")
            if number >= 2:  # the first turns fill caches on both sides
                warm.add(a, b)
        memory.add(bare.memory(), house.memory())
    return warm, memory


async def _starts(house: House, work: Path, pairs: int) -> list[Ratio]:
    new = Ratio("New conversation: submit to first word", 1.5)
    resumed = Ratio("Resumed conversation: submit to first word", 1.5)
    ahead = Ratio("The same, warmed ahead", 0.5)
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
