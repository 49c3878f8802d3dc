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
    """Pairs of figures: the bare one, and ours. `at_most` is what we hold ourselves to."""

    name: str
    at_most: float
    unit: str = "ms"
    """Figures are shown in it; times are given in seconds, sizes in bytes."""
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
        scale = 1000 if self.unit == "ms" else 1 / 1024**2
        bare, ours = (statistics.median(s) * scale for s in (self.bare, self.ours))
        verdict = "held" if self.value <= self.at_most else "**not held**"
        places = 2 if bare < 10 else 0
        return (
            f"| {self.name} | {bare:.{places}f} {self.unit} | {ours:.{places}f} {self.unit} | "
            f"{self.value:.2f} | "
            f"{self.at_most:g} | {verdict} | {len(self.bare)} |"
        )


@dataclass(frozen=True)
class Figure:
    """One that nothing bare is compared with."""

    name: str
    value: str
    at_most: str
    held: bool
    times: int

    @property
    def row(self) -> str:
        verdict = "" if not self.at_most else "held" if self.held else "**not held**"
        return f"| {self.name} | | {self.value} | | {self.at_most} | {verdict} | {self.times} |"


def page(ratios: list[Ratio | Figure]) -> str:
    """The Markdown page."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    measured = f"{datetime.now(UTC):%Y-%m-%d} on {machine}, Python {platform.python_version()}, "
    measured += f"load {os.getloadavg()[0]:.1f}"
    rows = "\n".join(ratio.row for ratio in ratios)
    return _PAGE.format(measured=measured, rows=rows)


_PAGE = """# Benchmarks
Written by `make bench`; measured {measured}. Machines are noisy, so every figure is a ratio of
medians of interleaved pairs in one run, and no test depends on one.

The clock runs from `submit` at the bridge to the first word at an adapter that does nothing:
inbox, signed call, agent service, the real Claude CLI, the scripted model, event stream,
presenter. "Bare" is a `ClaudeSDKClient` alone on the same model, from its query (a new or resumed
one: from its connect) to its first word, without a sandbox; Bascule's runs in one. "Warmed ahead"
is a message to a conversation whose session was opened because a message was to be expected.
Memory is what the processes of an idle session hold for themselves (USS), of several at once.
The broker's figure is the time of one streamed answer of 4 s, against the same request sent
straight to the model.

The inbox is measured on both databases, synced to the disk, with the scripted agent service. A
durable message (person, delivery key, conversation and message, 50 senders at once) stands beside
a bare loop that commits one row at a time through the driver alone. Acknowledgement is the time
of one `submit`; the load is 50 answers that stream at once.

Where a warm turn's time goes (measured by stamps in each process, 2 idle cores, medians): the CLI
itself takes 24 of 28 ms. The bridge adds 4 ms (the message is on the disk before it is
acknowledged), the agent service 3 (signed call, two commits), the broker 2 to 3 (it reads every
request), the way back 1. The sandbox adds nothing that can be told from noise since the CLI
speaks to the broker's socket by itself: through a forwarding process it was 2 ms more. So the
ratio of a warm turn is that of some 10 ms to what the CLI takes, and the faster the CLI, the
larger: on the same machine with nothing else to do (a bare turn in 28 ms) it was 1.28, 1.34, 1.38
and 1.39 in four runs with the sandbox, and 1.27, 1.33, 1.36 and 1.44 without, so 1.3 is not held
there. What is left to save is the hops between processes, not the sandbox.

| | bare | Bascule | ratio | at most | | measured |
|---|---|---|---|---|---|---|
{rows}
"""
