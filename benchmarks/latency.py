"""A message through the whole path against a bare client: warm turn and new conversation."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import bare
from benchmarks.house import running_house
from benchmarks.report import Ratio

TEXT = "say hello"


async def measure(warm_pairs: int, new_pairs: int) -> list[Ratio]:
    """Interleaved pairs, so that a slow moment of the machine meets both."""
    warm = Ratio("Warm turn: submit to first word", 1.3)
    new = Ratio("New conversation: submit to first word", 1.5)
    with tempfile.TemporaryDirectory(prefix="bench-bare-") as folder:
        work = Path(folder) / "work"
        async with running_house() as house:
            async with bare.connected(work, house.model_url) as client:
                for number in range(warm_pairs + 2):
                    a = await bare.first_word(client, TEXT)
                    b = await house.message(TEXT, "warm")
                    if number >= 2:  # the first turns fill caches on both sides
                        warm.add(a, b)
            for number in range(new_pairs + 1):
                a = await bare.new_session(work, house.model_url, TEXT)
                b = await house.message(TEXT, f"new{number}")
                if number >= 1:
                    new.add(a, b)
    return [warm, new]
