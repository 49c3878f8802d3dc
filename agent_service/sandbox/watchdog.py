"""Watches what a session takes, and says when it is too much."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import structlog

from agent_service.sandbox.limits import MIB, Limits

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
DISK_SECONDS = 5.0
HURRY = 256 * MIB
"""Free space that vanished since the last look at the disk, so that the next one comes at once."""


class Breach(Exception):
    """A limit was crossed; the text says which, in words for the person."""


def memory_of(pid: int) -> int:
    """Bytes that the process and all below it hold for themselves, in memory."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            try:
                found = process.memory_info()
            except psutil.Error:
                continue
            # What is shared is mostly the CLI's own program, once for all sessions.
            total += max(found.rss - found.shared, 0)
    except psutil.Error:
        return total
    return total


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
        self._pid = pid
        self._folders = folders
        self._limits = limits
        self._clock = clock or asyncio.get_running_loop().time
        self._free = self._free_space()
        self._looked_at = self._clock()

    async def run(self) -> None:
        """Look until there is a breach. Cancel it when the session ends."""
        while psutil.pid_exists(self._pid):
            await asyncio.to_thread(self._look)
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        memory = memory_of(self._pid)
        if memory > self._limits.memory * MIB:
            raise Breach(
                f"It used {memory // MIB:,} MiB of memory; {self._limits.memory:,} are allowed."
            )
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
