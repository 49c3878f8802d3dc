"""Control groups, on folders in which a thread does what the kernel does with its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_service.sandbox import cgroups
from agent_service.sandbox.box import Box
from agent_service.sandbox.cgroups import SERVICE, Cgroups
from agent_service.sandbox.limits import HEADROOM, Limits

LIMITS = Limits(memory=700, processes=90)


class Kernel:
    """The part of it that ends a group: who is in it is killed, and it can be removed then."""

    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "cgroup.procs").write_text("")
        (top / "cgroup.controllers").write_text("cpu io memory pids\n")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.005):
            for kill in self.top.glob("*/cgroup.kill"):
                if kill.read_text() == "1\n":
                    self._kill(kill.parent)

    @staticmethod
    def _kill(group: Path) -> None:
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        for file in group.iterdir():
            file.unlink(missing_ok=True)

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    top = tmp_path / "top"
    top.mkdir()
    made = Kernel(top)
    yield made
    made.close()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def lines(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text().strip() for file in folder.iterdir()}


def test_a_group_has_the_limits(kernel: Kernel) -> None:
    """Memory, no swap, ended as a whole, processes, and little of the processor."""
    group = Cgroups(kernel.top, Path("/home"), LIMITS).make("abc")
    assert lines(group.path) == {
        "memory.max": str(700 * 1024 * 1024),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": str(90 + HEADROOM + cgroups.BOX),
        "cpu.weight": "20",
    }


def test_the_end_is_the_end_of_all_in_it(kernel: Kernel, sleeper: subprocess.Popen[bytes]) -> None:
    """Who is in it is killed, it is gone afterwards, and a second end is harmless."""
    group = Cgroups(kernel.top, Path("/home"), LIMITS).make("abc")
    group.procs.write_text(f"{sleeper.pid}\n")
    group.end()
    assert sleeper.wait(1) == -signal.SIGKILL
    assert not group.path.exists()
    group.end()


def test_a_group_that_stays_holds_nobody_up(kernel: Kernel) -> None:
    """A process that the kernel cannot end costs two seconds, not the service."""
    group = Cgroups(kernel.top, Path("/home"), LIMITS).make("abc")
    kernel.close()
    started = time.monotonic()
    group.end()
    assert 1.9 < time.monotonic() - started < 4
    assert group.path.exists()


def test_a_start_makes_room_and_sweeps_its_own(
    kernel: Kernel, sleeper: subprocess.Popen[bytes]
) -> None:
    """The service moves into a group below, controllers are handed down, sessions that were left
    end, and those of another deployment do not."""
    mine = Cgroups(kernel.top, Path("/home"), LIMITS)
    other = Cgroups(kernel.top, Path("/another"), LIMITS).make("x")
    left = mine.make("y")
    left.procs.write_text(f"{sleeper.pid}\n")
    (kernel.top / "cgroup.procs").write_text(f"{os.getpid()}\n")
    mine.take_over()
    assert sleeper.wait(1) == -signal.SIGKILL
    assert list(mine.left()) == []
    assert other.path.exists()
    assert (kernel.top / SERVICE / "cgroup.procs").read_text() == f"{os.getpid()}\n"
    assert (kernel.top / "cgroup.subtree_control").read_text() == "+cpu +memory +pids\n"


@pytest.mark.parametrize(
    ("events", "said"),
    [("low 0\noom 3\noom_kill 2\n", "more than the 700 MiB"), ("oom 1\noom_kill 0\n", "")],
)
def test_the_kernels_word_is_passed_on(kernel: Kernel, events: str, said: str) -> None:
    """A session that the kernel ended for its memory is told as that, and no other."""
    group = Cgroups(kernel.top, Path("/home"), LIMITS).make("abc")
    assert group.overrun() == ""
    (group.path / "memory.events").write_text(events)
    assert said in group.overrun()
    assert bool(group.overrun()) is bool(said)


def box(folder: Path, group: Path) -> Box:
    for name in ("work", "config"):
        (folder / name).mkdir()
    return Box(
        folder=folder / "s", cli=Path(shutil.which("true") or ""), work=folder / "work",
        config=folder / "config", model_socket=None, egress_socket=None, uid=os.geteuid(),
        gid=os.getegid(), limits=LIMITS, group=group,
    )  # fmt: skip


def test_a_session_moves_itself_in_first(kernel: Kernel, tmp_path: Path) -> None:
    """The start script is in the group before anything else of the session is there."""
    group = Cgroups(kernel.top, Path("/home"), LIMITS).make("abc")
    made = box(tmp_path, group.procs)
    subprocess.run([made.write(["PATH"])], check=True)
    assert group.procs.read_text() == made.pid_file.read_text()


def test_outside_of_its_group_nothing_runs(tmp_path: Path) -> None:
    """A session that nobody would count does not start."""
    made = box(tmp_path, tmp_path / "gone" / "cgroup.procs")
    assert subprocess.run([made.write(["PATH"])], check=False).returncode == 1
    assert not made.pid_file.exists()


def system(root: Path, group: str, *, top: bool, controllers: str = "memory pids cpu") -> Path:
    """What `/proc` and `/sys` of a system say; gives the group's folder."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"0::{group}\n")
    here = root / "sys/fs/cgroup" / group.strip("/")
    here.mkdir(parents=True)
    (here / "cgroup.controllers").write_text(controllers + "\n")
    (here / "cgroup.procs").touch()
    if not top:
        (here / "cgroup.type").write_text("domain\n")
    return here


def test_a_containers_own_group_is_ours(tmp_path: Path) -> None:
    """The top of a container's groups, which is not that of the machine."""
    assert cgroups.found(tmp_path) is None  # no such files at all
    here = system(tmp_path, "/", top=False)
    assert cgroups.found(tmp_path) == here


def test_the_machines_own_is_not(tmp_path: Path) -> None:
    """Root on a machine without systemd could write there; the machine's programs live in it."""
    system(tmp_path, "/", top=True)
    assert cgroups.found(tmp_path) is None


def test_a_users_session_is_not_ours(tmp_path: Path) -> None:
    """A group that may be written to but was not handed over has other programs in it."""
    system(tmp_path, "/user.slice/terminal.scope", top=False)
    assert cgroups.found(tmp_path) is None


def test_without_the_controllers_it_is_no_use(tmp_path: Path) -> None:
    """A group that cannot limit memory is not taken."""
    system(tmp_path, "/", top=False, controllers="cpu pids")
    assert cgroups.found(tmp_path) is None


@pytest.mark.parametrize("below", ["", f"/{SERVICE}"])
def test_what_systemd_delegates_is_ours(tmp_path: Path, below: str) -> None:
    """It marks what it hands over; after a restart the service is in its own group below."""
    here = system(tmp_path, "/system.slice/bascule.service", top=False)
    os.setxattr(here, "user.delegate", b"1")
    (tmp_path / "proc/self/cgroup").write_text(f"0::/system.slice/bascule.service{below}\n")
    assert cgroups.found(tmp_path) == here
    os.setxattr(here, "user.delegate", b"0")
    assert cgroups.found(tmp_path) is None
