"""What decisions that wait cost: `python -m benchmarks.waiting`.

The service with 200 of them against itself with none: processes of sessions, and private memory.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import tempfile
from pathlib import Path

import psutil

from agent_service.testing import ScriptedMessages
from benchmarks.report import Figure
from tests.agent_service.agent import make_home, session_processes
from tests.agent_service.process import ProcessAgent

AT_ONCE = 3
MOST_BYTES = 64 * 1024
"""Of the service's memory, for each."""


async def figures(decisions: int) -> tuple[int, int, int]:
    """(processes of sessions, the service's private bytes without and with so many waiting)."""
    home = make_home(Path(tempfile.mkdtemp(prefix="bench-")))
    async with ScriptedMessages() as model:
        agent = ProcessAgent(home, model, log_level="warning")
        await agent.start()
        room = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with room:
                turn = await agent.turn("bash touch x", conversation=f"c{secrets.token_hex(6)}")
                if turn.last["kind"] != "turn.waiting":
                    raise RuntimeError(str(turn.last))

        try:
            # What the first turns load is not what waiting costs.
            await asyncio.gather(*(one() for _ in range(6)))
            before = _private(agent)
            await asyncio.gather(*(one() for _ in range(decisions)))
            after = _private(agent)
            processes = len(session_processes(home))
        finally:
            await agent.stop()
    shutil.rmtree(home, ignore_errors=True)
    return processes, before, after


async def measure(decisions: int) -> list[Figure]:
    processes, before, after = await figures(decisions)
    each = max(after - before, 0) / decisions
    return [
        Figure(
            f"{decisions} decisions that wait: processes of sessions, and private memory of the "
            "service for each",
            f"{processes}, {each / 1024:.1f} KiB",
            f"0, {MOST_BYTES // 1024} KiB",
            processes == 0 and each <= MOST_BYTES,
            1,
        )
    ]


def _private(agent: ProcessAgent) -> int:
    return int(psutil.Process(agent.process.pid).memory_full_info().uss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=200)
    for figure in asyncio.run(measure(parser.parse_args().decisions)):
        print(figure.row)


if __name__ == "__main__":
    main()
