"""All checks, without a test runner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from adapters.testing.checks import CHECKS, Check
from adapters.testing.harness import ConformanceError, Harness


@dataclass(slots=True)
class Report:
    """Names of the checks that passed; what the others said."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


async def run(
    make: Callable[[], AbstractAsyncContextManager[Harness]], checks: Sequence[Check] = CHECKS
) -> Report:
    """Run the checks, each with a harness of its own. Only `ConformanceError` is a verdict: any
    other exception is a mistake of the harness or the adapter and comes through."""
    report = Report()
    for check in checks:
        name = getattr(check, "__name__", repr(check))
        try:
            async with make() as harness:
                await check(harness)
        except ConformanceError as error:
            report.failed[name] = str(error)
        else:
            report.passed.append(name)
    return report
