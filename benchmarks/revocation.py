"""How long it takes until a revocation has ended everything."""

from __future__ import annotations

import statistics
import time

import psutil

from benchmarks.house import House, running_house
from benchmarks.report import Figure

LIVE = 5
AT_MOST = 1.0
_WHO = {"person": "p1", "name": "Bench"}


async def measure(times: int) -> list[Figure]:
    """With five live sessions, one of them in the middle of an answer."""
    called, over = [], []
    async with running_house() as house:
        for number in range(times):
            await _sessions(house, number)
            processes = house.processes()
            started = time.perf_counter()
            revoked = await house.call(
                "admin", "POST", "/v1/revocations", {"scope": "everything", "by": "bench"}
            )
            called.append(time.perf_counter() - started)
            while any(is_running(process) for process in processes):
                time.sleep(0.002)
            over.append(time.perf_counter() - started)
            await house.call("admin", "POST", f"/v1/revocations/{revoked['id']}/lift", {})
    held = statistics.median(over) <= AT_MOST
    shown = f"{statistics.median(over) * 1000:.0f} ms (worst {max(over) * 1000:.0f} ms)"
    return [
        Figure(
            f"Revocation of everything, {LIVE} live sessions, one in mid-turn: "
            "from the call until no process is left",
            shown, f"{AT_MOST:.0f} s", held, times,
        ),
        Figure("The same, until the call is answered",
               f"{statistics.median(called) * 1000:.0f} ms", "", True, times),
    ]  # fmt: skip


def is_running(process: psutil.Process) -> bool:
    """Not one that is dead and only waits for its parent to hear of it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


async def _sessions(house: House, number: int) -> None:
    for session in range(LIVE):
        name = f"r{number}-{session}"
        last = session == LIVE - 1
        body = {
            "conversation": name,
            "workspace": "w1",
            "prompt": "slow 60 " + "word " * 100 if last else "say hello",
            "asker": _WHO,
        }
        await house.call("bridge", "PUT", f"/v1/turns/{name}", body)
        await house.until_said(name)
