"""Control groups (version 2): the kernel's own count of what a session takes, all its processes and
the files they have in memory together.

Only where a subtree was handed to this service: by systemd (`Delegate=yes`), or in a container
whose own group is writable. Elsewhere the limits of each process and the watchdog do the work.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from agent_service.sandbox.limits import HEADROOM, MIB, Limits

_log = structlog.get_logger(__name__)

SERVICE = "bascule-service"
"""Where the service's own processes go: the kernel limits a group's children only where the group
itself has no processes."""
NEEDED = frozenset({"memory", "pids"})
BOX = 8
"""Processes of a box besides the session's: bubblewrap and the forwarder."""
WEIGHT = 20
"""Of the processor, beside 100 for the service: sessions take what it leaves."""
END_SECONDS = 2.0
NOTE = "control-group"
"""Under the folder of sockets: the group that a running service was handed."""
HOW_TO = (
    "For limits by control groups, run it as a systemd service with `Delegate=yes`, or in a "
    "container with a group of its own (`cgroup: private`) that is writable."
)


def found(root: Path = Path("/")) -> Path | None:
    """The group that was handed to this service, or None. `root` is where `/proc` and `/sys` are.

    A group that merely belongs to the same user is none of ours: other programs live in it.
    """
    top = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        path = next(line[3:] for line in lines if line.startswith("0::"))
        here = top / path.strip("/")
        if here.name == SERVICE:
            here = here.parent
        controllers = set((here / "cgroup.controllers").read_text().split())
    except (OSError, StopIteration):
        return None
    # At the top of a container there is a `cgroup.type`; at that of a machine there is none.
    ours = _is_delegated(here) or (here == top and (here / "cgroup.type").exists())
    writable = all(os.access(here / name, os.W_OK) for name in (".", "cgroup.procs"))
    return here if ours and writable and controllers >= NEEDED else None


def _is_delegated(group: Path) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


class Group:
    """One session's. It is there before the session's first process, which moves itself in."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self._limits = limits

    @property
    def procs(self) -> Path:
        """A process that writes its number here is in the group, with all that it starts."""
        return self.path / "cgroup.procs"

    def make(self) -> None:
        """Raises OSError."""
        self.path.mkdir(mode=0o700)
        limits = self._limits
        _write(self.path / "memory.max", limits.memory * MIB)
        # Half a session is no session: where the kernel must end something, it ends all of it.
        _write(self.path / "memory.oom.group", 1)
        _write(self.path / "pids.max", limits.processes + HEADROOM + BOX)
        for name, value in (("memory.swap.max", 0), ("cpu.weight", WEIGHT)):
            with contextlib.suppress(OSError):  # not every kernel has them
                _write(self.path / name, value)

    def overrun(self) -> str:
        """For the person, where the kernel ended processes for want of memory; else empty."""
        if _counts(self.path / "memory.events").get("oom_kill", 0) == 0:
            return ""
        return f"It used more than the {self._limits.memory:,} MiB of memory that are allowed."

    def end(self) -> None:
        """End every process in it and remove it. Safe to repeat; blocks until they are gone, for
        at most 2 s."""
        with contextlib.suppress(OSError):
            _write(self.path / "cgroup.kill", 1)
        patience = time.monotonic() + END_SECONDS
        while self.path.exists() and time.monotonic() < patience:
            with contextlib.suppress(OSError):
                self.path.rmdir()  # as long as a process is in it, the kernel refuses
                return
            time.sleep(0.01)


class Cgroups:
    """The groups of one deployment's sessions, below a group that it owns."""

    def __init__(self, top: Path, home: Path, limits: Limits) -> None:
        """`top` as `found` gives it. Another deployment may have sessions beside ours."""
        self.top = top
        self._prefix = f"session-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}-"
        self._limits = limits

    def take_over(self) -> None:
        """At start: make room for sessions, and end those that an earlier service left.

        Raises OSError where the group cannot be used after all.
        """
        for group in self.left():
            _log.warning("sessions.group_swept", group=group.path.name)
            group.end()
        service = self.top / SERVICE
        service.mkdir(exist_ok=True)
        for pid in (self.top / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                _write(service / "cgroup.procs", pid)
        there = set((self.top / "cgroup.controllers").read_text().split())
        wanted = sorted(NEEDED | (there & {"cpu"}))
        _write(self.top / "cgroup.subtree_control", " ".join(f"+{name}" for name in wanted))

    def left(self) -> Iterator[Group]:
        """Those of this deployment that are there."""
        for path in sorted(self.top.glob(f"{self._prefix}*")):
            yield Group(path, self._limits)

    def make(self, name: str) -> Group:
        """A group for a session of this name. Raises OSError, and leaves none then."""
        group = Group(self.top / f"{self._prefix}{name}", self._limits)
        try:
            group.make()
        except OSError:
            group.end()
            raise
        return group


def _write(path: Path, value: int | str) -> None:
    path.write_text(f"{value}\n")


def _counts(path: Path) -> dict[str, int]:
    try:
        pairs = (line.split() for line in path.read_text().splitlines())
        return {name: int(value) for name, value in pairs}
    except (OSError, ValueError):
        return {}
