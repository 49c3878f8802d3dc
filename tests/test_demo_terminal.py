"""`bascule demo` in a real terminal, from its first line to its last."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

sys.path.append(str(Path(__file__).parent / "adapters"))

from tmux import Terminal

from tests.deployment import BASCULE


@pytest.fixture
async def terminal() -> AsyncIterator[Terminal]:
    made = Terminal()
    yield made
    await made.close()


def of(place: Path) -> list[psutil.Process]:
    """The processes that were started with something in that folder on their command line, but
    for the terminal's own."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if process.status() == "zombie" or Path(words[0]).name in ("sh", "tmux", "env"):
                continue
            if any(str(place) in word for word in words):
                found.append(process)
        except (psutil.Error, IndexError):
            continue
    return found


async def test_a_first_visit(place: Path, terminal: Terminal) -> None:
    """Everything the banner promises works with keys alone, and nothing is left afterwards."""
    await terminal.run(str(BASCULE), "demo", TMPDIR=str(place), HOME=str(place))
    await terminal.sees("scripted model", "`bascule demo --home DIR` keeps it", "/help")

    await terminal.says("write a file")
    await terminal.sees("[1] Allow once")
    await terminal.presses("1")
    await terminal.sees("✓ Allowed")
    await terminal.until(lambda _: list(place.glob("*/workspaces/*/work/hello.txt")), "the file")
    await terminal.until(lambda shown: "Ctrl-C stops" not in shown, "the end of the turn")

    await terminal.says("run a command")
    await terminal.sees("[1] Allow once", "cat greeting.txt")
    await terminal.presses("1")
    await terminal.sees("Hello from Linux")
    await terminal.until(lambda shown: "Ctrl-C stops" not in shown, "the end of the turn")

    await terminal.says("ask me a question")
    await terminal.sees("[1] Blue", "[2] Green")
    await terminal.presses("2")
    await terminal.sees("You chose: Green")
    await terminal.until(lambda shown: "Ctrl-C stops" not in shown, "the end of the turn")

    await terminal.says("slow 300 " + "word " * 20)
    await terminal.sees("\nword word", "Ctrl-C stops")
    await terminal.presses("C-c")
    await terminal.sees("\n┃ Stopped.")

    await terminal.says("my name is Wilhelmina")
    await terminal.until(lambda shown: shown.count("Wilhelmina") == 2, "a greeting")
    await terminal.says("what is my name")
    await terminal.sees("Your name is Wilhelmina.")

    await terminal.presses("C-d")
    await terminal.sees("left with 0")
    assert list(place.glob("bascule-demo-*")) == []
    assert of(place) == []


async def test_killed(place: Path, terminal: Terminal) -> None:
    """A demo that is killed leaves no chat in the terminal, nor anything else."""
    home = place / "kept"
    await terminal.run(str(BASCULE), "demo", "--home", str(home))
    await terminal.sees("Everything stays in that folder.", "/help")
    (demo,) = [p for p in of(home) if p.cmdline()[2:3] == ["demo"]]
    assert any("adapters.console" in p.cmdline() for p in of(home))
    demo.send_signal(signal.SIGKILL)
    await terminal.sees("left with 137")
    async with asyncio.timeout(60):
        while of(home):
            await asyncio.sleep(0.05)
    await terminal.types("the terminal is in order")
    await terminal.sees("the terminal is in order")
