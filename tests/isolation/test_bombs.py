"""Sessions that take all they can: they end with a reason, and nobody else notices."""

from __future__ import annotations

import asyncio
import itertools
import mmap
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest
import pytest_asyncio

from agent_service.sandbox.held import held_by, shared
from agent_service.sandbox.limits import Limits
from agent_service.sandbox.watchdog import Breach, Watchdog, disk_of
from agent_service.testing import ScriptedMessages
from agent_service.workspaces import trees
from tests.agent_service.agent import Turn, make_home
from tests.isolation.ordinary import OrdinaryAgent

PATIENCE = 60
"""Seconds from the answer that lets a bomb go until its turn has ended, however busy the machine
is. How long it really took is printed: `pytest -rP`. docs/security.md has the figures."""

ENDED = {
    "fork": "f() { f | f & }; f; sleep 60",
    "processes": "for n in $(seq 500); do sleep 60 & done; sleep 60",
    "threads": "python3 -c 'import threading, time; threading.stack_size(65536)\n"
    "while True:\n"
    " try: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    " except RuntimeError: time.sleep(60)'",
    "memory": 'for n in 1 2 3 4; do python3 -c \'import time; x = b"x" * (300 << 20); '
    "time.sleep(60)' & done; sleep 60",
    "shared": "python3 -c 'import mmap, time; x = mmap.mmap(-1, 800 << 20)\n"
    "for n in range(0, 800 << 20, 4096): x[n] = 1\ntime.sleep(60)'",
    "tmp": "head -c 900M /dev/zero > /tmp/big; sleep 60",
    "memory-folders": "for d in /tmp /dev/shm $HOME; do head -c 250M /dev/zero > $d/big; done; "
    "sleep 60",
    "deleted": 'python3 -c \'import time; f = open("/tmp/gone", "wb"); import os; '
    'os.unlink("/tmp/gone"); f.write(b"x" * (400 << 20)); g = open("/dev/shm/x", "wb"); '
    'f.write(b"x" * (300 << 20)); time.sleep(60)\'',
    "disk": "head -c 400M /dev/zero > big; sleep 60",
    "disk-files": "for n in $(seq 200); do head -c 1M /dev/zero > file-$n; done; sleep 60",
    "disk-deleted": 'python3 -c \'import os, time; f = open("gone", "wb"); os.unlink("gone")\n'
    'for n in range(300): f.write(b"x" * (1 << 20))\ntime.sleep(60)\'',
    "disk-mapped": 'python3 -c \'import mmap, os, time; f = open("gone", "w+b"); '
    'os.unlink("gone")\nfor n in range(300): f.write(b"x" * (1 << 20))\n'
    "f.flush(); x = mmap.mmap(f.fileno(), 300 << 20); os.close(f.fileno()); "
    "os.closerange(3, 9); time.sleep(60)'",
    "disk-closed": "mkdir d; head -c 300M /dev/zero > d/big; chmod 000 d; sleep 60",
    "disk-deep": 'python3 -c \'import os, time\nfor n in range(1100): os.mkdir("d"); '
    'os.chdir("d")\ntime.sleep(60)\'',
    "shared-given-back": "python3 -c 'import mmap, time; x = mmap.mmap(-1, 800 << 20)\n"
    "for m in range(0, 800 << 20, 8 << 20):\n"
    " for n in range(m, m + (8 << 20), 4096): x[n] = 1\n"
    " x.madvise(mmap.MADV_DONTNEED, m, 8 << 20)\ntime.sleep(60)'",
    "hidden": "python3 -c 'import ctypes, time; ctypes.CDLL(None).prctl(4, 0); time.sleep(60)'",
    "disk-config": "head -c 150M /dev/zero > $CLAUDE_CONFIG_DIR/big; sleep 60",
}
"""Name and command. Each ends its session with the reason `over_limit`."""
CROWDED = {"fork", "processes", "threads"}
QUICK = {"fork", "tmp", "disk", "disk-deleted"}
HELD = {
    "one-file": ("ulimit -f; truncate -s 5G sparse; echo code $?", "code 1"),
    "shm": ("head -c 300M /dev/zero > /dev/shm/big; echo code $?; rm /dev/shm/big", "code 1"),
    "files": ("python3 -c 'import os\nfor n in range(9000): os.dup(0)'; echo code $?", "code 1"),
    "memfd": ("python3 -c 'import os; os.memfd_create(\"x\")'; echo code $?", "code 1"),
    "core": ("sh -c 'kill -SEGV $$'; ls core* /tmp/core*; echo code $?", "code 2"),
}
"""Name, command and what it says: the kernel holds it, and the session goes on."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent() -> AsyncIterator[OrdinaryAgent]:
    """A service with small limits, and a neighbour with a live session."""
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    async with ScriptedMessages() as model:
        made = OrdinaryAgent(
            home, model, agent_memory_mib=640, agent_processes=160, agent_workspace_mib=96
        )
        await made.start()
        await neighbour(made)
        yield made
        await made.stop()
        await made.no_sessions()
    trees.remove(home.parent, home.name)  # some of it lies deeper than Python's own removal goes


async def neighbour(agent: OrdinaryAgent) -> None:
    """Another person's turn, with a process of its own, while something goes on."""
    turn = await agent.allow_all(
        "run sh -c 'echo fine; true' | cat", conversation="c-near", workspace="near"
    )
    assert turn.last["outcome"] == "completed", (turn.events, agent.log.read_text()[-2000:])
    assert "fine" in turn.text


async def timed(doing: Awaitable[Turn]) -> tuple[Turn, float]:
    """What comes of it, and the seconds it took."""
    started = time.monotonic()
    return await doing, time.monotonic() - started


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in ENDED],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_bomb_ends_its_own_session(agent: OrdinaryAgent, name: str) -> None:
    """The turn ends in time and says why; meanwhile a neighbour's turn is answered, and the same
    person's next one works."""
    turn = await agent.turn(f"run {ENDED[name]}", conversation=name, workspace=name)
    bombing = asyncio.create_task(timed(agent.decided(turn, "allow")))
    await neighbour(agent)
    turn, took = await bombing
    print(f"bomb {name}: {took:.1f} s from being let go to the end of its turn")
    if turn.last["kind"] == "turn.waiting":
        # The CLI found no room for a process of its own, and was gone before anybody looked.
        assert name in CROWDED
        assert turn.decision["again"]
        return
    assert (turn.last["outcome"], turn.last["reason"]) == ("failed", "over_limit"), turn.events
    assert "allowed" in turn.last["message"]
    assert turn.last["remedy"]
    assert took < PATIENCE
    assert (await agent.caller.call("GET", "/readyz"))[0] == 200
    if not name.startswith("disk"):
        assert (await agent.turn("say again", conversation=name, workspace=name)).text == "again"


@pytest.mark.parametrize("name", HELD)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_kernel_holds_it(agent: OrdinaryAgent, name: str) -> None:
    """A single process over its limit fails by itself; the session goes on."""
    command, said = HELD[name]
    turn = await agent.allow_all(f"run {command}", conversation="held", workspace="held")
    assert turn.last["outcome"] == "completed", turn.events
    assert said in turn.text


@pytest.mark.asyncio(loop_scope="module")
async def test_a_busy_processor_is_shared(agent: OrdinaryAgent) -> None:
    """Sessions that compute are nice to others: a neighbour is answered, and a stop ends them."""
    burn = "for n in 1 2 3 4 5 6; do sh -c 'while :; do :; done' & done; sleep 60"
    turn = await agent.turn(f"run {burn}", conversation="burn", workspace="burn")
    burning = asyncio.create_task(agent.decided(turn, "allow"))
    await neighbour(agent)
    status, answer = await agent.caller.call("POST", f"/v1/turns/{turn.id}/interrupt", {"by": "p1"})
    assert status == 200, answer
    assert (await burning).last["outcome"] == "interrupted"


def test_too_many_files_are_counted_no_further(place: Path) -> None:
    """A filler of names costs the one who counts no more than the limit."""
    for number in range(300):
        (place / str(number)).mkdir()
        (place / str(number) / "x").touch()
    found = disk_of([place], 100)
    assert found.entries > 100
    assert found.size >= 0


def nested(place: Path, depth: int) -> None:
    """Folders in each other, deeper than any path may be long."""
    handle = os.open(place, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)


@pytest.mark.asyncio
async def test_folders_that_cannot_be_counted_are_too_much(place: Path) -> None:
    """Endless nesting is no recursion: it is left out once, and then it is a breach."""
    nested(place, 1100)
    assert "deeper" in disk_of([place], 1000).left_out
    clock = itertools.count(step=10)
    dog = Watchdog(os.getpid(), (place,), Limits(memory=1 << 20), clock=lambda: next(clock))
    with pytest.raises(Breach, match="cannot be counted"):
        await asyncio.wait_for(dog.run(), 10)
    trees.remove(place, "d")


@pytest.mark.asyncio
async def test_files_without_a_name_are_counted(place: Path) -> None:
    """What is deleted and open takes room, and what shares memory has it once."""
    with (place / "gone").open("w+b") as file:
        (place / "gone").unlink()
        file.write(b"x" * (3 << 20))
        file.flush()
        with mmap.mmap(-1, 5 << 20) as memory:
            memory[0] = 1
            device = frozenset({place.stat().st_dev})
            found = held_by([os.getpid()], device, 1000)
            maps = Path("/proc/self/maps").read_bytes()
            assert shared([maps, maps]) >= 5 << 20
            assert shared([maps, maps]) == shared([maps])
    assert found.deleted >= 3 << 20
    assert not found.hidden
    assert held_by([os.getpid()], device, 1000).deleted < 3 << 20
