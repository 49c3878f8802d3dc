"""Watches what a session takes, and says when it is too much."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from agent_service.contract.errors import ServiceError
from agent_service.contract.workspaces import DEPTH_LIMIT
from agent_service.sandbox import held
from agent_service.sandbox.box import TEMPORARY
from agent_service.sandbox.limits import MIB, Limits
from agent_service.workspaces import beneath, trees
from agent_service.workspaces.beneath import Parts

LOOK_SECONDS = 0.5
DISK_SECONDS = 5.0
HURRY = 256 * MIB
"""Free space that vanished since the last look at the disk, so that the next one comes at once."""
NEARLY = 8
"""So many processes below the limit it counts as reached: the kernel lets nobody cross it."""
_OPENED = 100
"""Folders that one look makes readable; who closes more is not at work."""
_STATUS = re.compile(rb"^(RssAnon|RssShmem|VmSwap|Threads):\s+(\d+)", re.MULTILINE)


class Breach(Exception):
    """A limit was crossed; the text says which, in words for the person."""


@dataclass(slots=True)
class Taken:
    """What a session holds at one moment."""

    memory: int = 0
    """Bytes of the processes themselves and in the box's temporary file systems. What is mapped
    from files is left out: it is mostly the CLI's own program, once for all sessions."""
    tasks: int = 0
    """Processes and threads."""
    entries: int = 0
    """Files and folders in the temporary file systems."""
    shared: int = 0
    """Of the memory, what processes show as shared."""
    pids: tuple[int, ...] = ()


def taken_by(pid: int) -> Taken:
    """Of the process and all below it. What ends meanwhile is left out."""
    taken = Taken()
    try:
        root = psutil.Process(pid)
        below = root.children(recursive=True)
    except psutil.Error:
        return taken
    taken.pids = (pid, *(process.pid for process in below))
    maps: list[bytes] = []
    for each in taken.pids:
        with contextlib.suppress(OSError):
            _add_process(taken, Path(f"/proc/{each}/status").read_bytes())
            maps.append(Path(f"/proc/{each}/maps").read_bytes())
    # What a process gave back of what it shares, it no longer shows, and others may.
    taken.memory += max(taken.shared, held.shared(maps))
    if below:
        with contextlib.suppress(OSError):
            _add_temporary(taken, Path(f"/proc/{below[0].pid}/root"))
    return taken


def _add_process(taken: Taken, status: bytes) -> None:
    for name, value in _STATUS.findall(status):
        if name == b"Threads":
            taken.tasks += int(value)
        elif name == b"RssShmem":
            taken.shared += int(value) * 1024
        else:
            taken.memory += int(value) * 1024


def _add_temporary(taken: Taken, root: Path) -> None:
    if root.stat().st_dev == Path("/").stat().st_dev:
        return  # no box, or not yet
    for path in TEMPORARY:
        found = os.statvfs(root / path.lstrip("/"))
        taken.memory += (found.f_blocks - found.f_bfree) * found.f_frsize
        taken.entries += found.f_files - found.f_ffree


@dataclass(frozen=True, slots=True)
class OnDisk:
    size: int
    """Bytes."""
    entries: int
    """Files and folders."""
    left_out: str = ""
    """Why something could not be counted, if so."""


def disk_of(folders: Sequence[Path], most_entries: int) -> OnDisk:
    """What lies in these folders; stops counting once there are too many entries.

    Follows no link, and holds folders by descriptor, so that nothing can be swapped under it. A
    folder that cannot be read is the agent's doing: it is made readable, for the next look.
    """
    size = entries = 0
    closed: list[Parts] = []
    reasons: list[str] = []

    def left_out(parts: Parts, why: str) -> None:
        closed.append(parts)
        reasons.append(why)

    for folder in folders:
        closed.clear()
        try:
            top = _top(folder)
        except FileNotFoundError:
            continue
        try:
            for found in trees.walk(top, left_out):
                entries += 1
                if entries > most_entries:
                    return OnDisk(size, entries)
                if stat.S_ISREG(found.info.st_mode) or stat.S_ISDIR(found.info.st_mode):
                    size += found.info.st_blocks * 512
            for parts in closed[:_OPENED]:
                _make_readable(top, parts)
        finally:
            os.close(top)
    return OnDisk(size, entries, reasons[0] if reasons else "")


def _top(folder: Path) -> int:
    try:
        return os.open(folder, beneath.FOLDER)
    except PermissionError:
        folder.chmod(0o700)  # it is in a folder of ours: nobody can put a link in its place
        return os.open(folder, beneath.FOLDER)


def _make_readable(top: int, parts: Parts) -> None:
    with (
        contextlib.suppress(OSError, ServiceError),
        beneath.folder(top, parts[:-1]) as parent,
    ):
        handle = os.open(
            parts[-1], os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent
        )
        try:
            if os.fstat(handle).st_mode & 0o500 != 0o500:
                Path(f"/proc/self/fd/{handle}").chmod(0o700)
        finally:
            os.close(handle)


class Watchdog:
    """One session's. `run` ends by raising `Breach`, or quietly once its process is gone. Where it
    raises anything else, the session is watched no more and has to end."""

    def __init__(
        self,
        pid: int,
        folders: Sequence[Path],
        limits: Limits,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.memory: int | None = None
        """Bytes at the last look; None before the first."""
        self.crowded = ""
        """For the person, where the last look found no room for more processes; else empty."""
        self._pid = pid
        self._folders = folders
        self._limits = limits
        self._clock = clock or asyncio.get_running_loop().time
        self._left_out = ""
        self._hidden: frozenset[int] = frozenset()
        self._again = False
        self._free = self._free_space()
        self._looked_at = self._clock()

    async def run(self) -> None:
        """Look until there is a breach. Cancel it when the session ends."""
        while psutil.pid_exists(self._pid):
            await asyncio.to_thread(self._look)
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        taken, limits = taken_by(self._pid), self._limits
        self.memory = taken.memory
        if taken.memory > limits.memory * MIB:
            raise Breach(
                f"It used {taken.memory // MIB:,} MiB of memory; {limits.memory:,} are allowed."
            )
        if taken.entries > limits.entries:
            raise Breach(f"It made more than {limits.entries:,} temporary files.")
        # A build may touch the limit for a moment; what stays there is a bomb.
        crowded = ""
        if taken.tasks > limits.processes - NEARLY:
            crowded = f"It started {taken.tasks:,} processes; {limits.processes:,} are allowed."
        if crowded and self.crowded:
            raise Breach(crowded)
        self.crowded = crowded
        free = self._free_space()
        due = self._again or self._clock() - self._looked_at >= DISK_SECONDS
        if due or self._free - free > HURRY:
            self._look_at_disk(taken.pids)
            self._free, self._looked_at = free, self._clock()

    def _look_at_disk(self, pids: Sequence[int]) -> None:
        limits = self._limits
        disk = disk_of(self._folders, limits.entries)
        holds = held.held_by(pids, self._devices(), limits.entries)
        size = disk.size + holds.deleted
        if size > limits.workspace * MIB:
            raise Breach(f"Its files take {size // MIB:,} MiB; {limits.workspace:,} are allowed.")
        if disk.entries > limits.entries or holds.files > limits.entries:
            raise Breach(f"It made more than {limits.entries:,} files.")
        # What cannot be counted may be so for a moment, by accident; what stays so is hidden.
        if disk.left_out and self._left_out:
            raise Breach(
                f"What lies in one of its folders cannot be counted: {disk.left_out}. Folders that "
                f"can be read, and no deeper than {DEPTH_LIMIT}, are allowed."
            )
        if holds.hidden & self._hidden:
            raise Breach("One of its processes hides what it holds, which is not allowed.")
        self._left_out, self._hidden = disk.left_out, holds.hidden
        self._again = bool(disk.left_out or holds.hidden)

    def _devices(self) -> frozenset[int]:
        found: set[int] = set()
        for folder in self._folders:
            with contextlib.suppress(OSError):
                found.add(folder.stat().st_dev)
        return frozenset(found)

    def _free_space(self) -> int:
        try:
            found = os.statvfs(self._folders[0])
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize
