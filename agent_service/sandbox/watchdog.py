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

from agent_service.sandbox.box import TEMPORARY
from agent_service.sandbox.limits import MIB, Limits

LOOK_SECONDS = 0.5
DISK_SECONDS = 5.0
HURRY = 256 * MIB
"""Free space that vanished since the last look at the disk, so that the next one comes at once."""
NEARLY = 8
"""So many processes below the limit it counts as reached: the kernel lets nobody cross it."""
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


def taken_by(pid: int) -> Taken:
    """Of the process and all below it. What ends meanwhile is left out."""
    taken = Taken()
    try:
        root = psutil.Process(pid)
        below = root.children(recursive=True)
    except psutil.Error:
        return taken
    for process in (root, *below):
        with contextlib.suppress(OSError):
            _add_process(taken, Path(f"/proc/{process.pid}/status").read_bytes())
    if below:
        with contextlib.suppress(OSError):
            _add_temporary(taken, Path(f"/proc/{below[0].pid}/root"))
    return taken


def _add_process(taken: Taken, status: bytes) -> None:
    for name, value in _STATUS.findall(status):
        if name == b"Threads":
            taken.tasks += int(value)
        else:
            taken.memory += int(value) * 1024


def _add_temporary(taken: Taken, root: Path) -> None:
    if root.stat().st_dev == Path("/").stat().st_dev:
        return  # no box, or not yet
    for path in TEMPORARY:
        found = os.statvfs(root / path.lstrip("/"))
        taken.memory += (found.f_blocks - found.f_bfree) * found.f_frsize
        taken.entries += found.f_files - found.f_ffree


def disk_of(folders: Sequence[Path], most_entries: int) -> tuple[int, int]:
    """(bytes on disk, files and folders); stops counting once there are too many.

    Follows no link, and holds folders by descriptor, so that nothing can be swapped under it.
    """
    size = entries = 0
    for folder in folders:
        for _, names, files, handle in os.fwalk(folder, follow_symlinks=False):
            entries += len(names) + len(files)
            if entries > most_entries:
                return size, entries
            for name in (*names, *files):
                try:
                    found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
                    size += found.st_blocks * 512
    return size, entries


class Watchdog:
    """One session's. `run` ends by raising `Breach`, or quietly once its process is gone."""

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
        self._pid = pid
        self._folders = folders
        self._limits = limits
        self._clock = clock or asyncio.get_running_loop().time
        self._crowded = False
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
        crowded = taken.tasks > limits.processes - NEARLY
        if crowded and self._crowded:
            raise Breach(f"It started {taken.tasks:,} processes; {limits.processes:,} are allowed.")
        self._crowded = crowded
        free = self._free_space()
        due = self._clock() - self._looked_at >= DISK_SECONDS
        if due or self._free - free > HURRY:
            self._look_at_disk()
            self._free, self._looked_at = free, self._clock()

    def _look_at_disk(self) -> None:
        size, entries = disk_of(self._folders, self._limits.entries)
        if size > self._limits.workspace * MIB:
            raise Breach(
                f"Its files take {size // MIB:,} MiB; {self._limits.workspace:,} are allowed."
            )
        if entries > self._limits.entries:
            raise Breach(f"It made more than {self._limits.entries:,} files.")

    def _free_space(self) -> int:
        try:
            found = os.statvfs(self._folders[0])
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize
