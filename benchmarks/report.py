"""Figures as ratios of medians, and the page that keeps them."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path("docs/benchmarks.md")


@dataclass
class Ratio:
    """Pairs of seconds: the bare one, and ours. `at_most` is what we hold ourselves to."""

    name: str
    at_most: float
    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def add(self, bare: float, ours: float) -> None:
        self.bare.append(bare)
        self.ours.append(ours)

    @property
    def value(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.bare)

    @property
    def row(self) -> str:
        bare, ours = (statistics.median(s) * 1000 for s in (self.bare, self.ours))
        verdict = "held" if self.value <= self.at_most else "**not held**"
        return (
            f"| {self.name} | {bare:.0f} ms | {ours:.0f} ms | {self.value:.2f} | "
            f"{self.at_most:.1f} | {verdict} | {len(self.bare)} |"
        )


def page(ratios: list[Ratio]) -> str:
    """The Markdown page."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    measured = f"{datetime.now(UTC):%Y-%m-%d} on {machine}, Python {platform.python_version()}"
    rows = "\n".join(ratio.row for ratio in ratios)
    return _PAGE.format(measured=measured, rows=rows)


_PAGE = """# Benchmarks
Written by `make bench`; measured {measured}. Machines are noisy, so every figure is a ratio of
medians of interleaved pairs in one run, and no test depends on one.

The clock runs from `submit` at the bridge to the first word at an adapter that does nothing:
inbox, signed call, agent service, the real Claude CLI, the scripted model, event stream,
presenter. "Bare" is a `ClaudeSDKClient` alone on the same model, from its query (a new one: from
its connect) to its first word, without a sandbox; Bascule's runs in one.

| | bare | Bascule | ratio | at most | | pairs |
|---|---|---|---|---|---|---|
{rows}
"""
