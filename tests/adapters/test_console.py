"""The console adapter keeps every promise of the port."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adapters.testing import CHECKS, run

sys.path.append(str(Path(__file__).parent))

from console_harness import console


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check) -> None:
    """The suite that every adapter must pass, over the real socket."""
    async with console() as harness:
        await check(harness)


async def test_the_suite_runs_without_a_test_runner() -> None:
    """An author without pytest gets the same verdicts from one call."""
    report = await run(console, CHECKS[:2])
    assert report.failed == {}
    assert len(report.passed) == 2
