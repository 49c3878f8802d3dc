"""What processes hold and no folder shows: shared memory, and files that have no name any more."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_DELETED = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) ...(.) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) +"
    rb"(.*) \(deleted\)$",
    re.MULTILINE,
)
_ZOMBIE = re.compile(rb"^State:\s+[ZX]", re.MULTILINE)
_ANONYMOUS = (b"/dev/zero", b"/SYSV", b"/memfd:")
"""By what names mappings of memory go that processes share and no file system counts."""

_Key = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, slots=True)
class Held:
    deleted: int
    """Bytes on disk of files without a name. What is mapped only counts as large as its mapping."""
    hidden: frozenset[int]
    """Living processes that do not let themselves be looked into."""
    files: int
    """Open files that were looked at."""


def shared(maps: Iterable[bytes]) -> int:
    """Bytes of anonymous memory in these texts of `/proc/PID/maps`, each piece once.

    As large as it was made: what was written and then given back by the process is still taken.
    """
    sizes: dict[_Key, int] = {}
    for text in maps:
        for key, size, name, private in _mapped(text):
            if not private and name.startswith(_ANONYMOUS):
                sizes[key] = max(sizes.get(key, 0), size)
    return sum(sizes.values())


def held_by(pids: Iterable[int], devices: frozenset[int], most: int) -> Held:
    """Of these processes, on file systems with these numbers; stops after `most` open files."""
    sizes: dict[_Key, int] = {}
    mapped: dict[_Key, int] = {}
    hidden: set[int] = set()
    files = 0
    for pid in pids:
        try:
            with os.scandir(f"/proc/{pid}/fd") as handles:
                for handle in handles:
                    files += 1
                    if files > most:
                        return Held(sum(sizes.values()), frozenset(hidden), files)
                    with contextlib.suppress(OSError):
                        info = os.stat(handle.path)  # noqa: PTH116 - of what is open, not a path
                        if info.st_nlink == 0 and info.st_dev in devices and _is_file(info):
                            sizes[info.st_dev, info.st_ino] = info.st_blocks * 512
            for key, size, _, _ in _mapped(Path(f"/proc/{pid}/maps").read_bytes()):
                if key[0] in devices:
                    mapped[key] = max(mapped.get(key, 0), size)
        except PermissionError:
            if not _is_over(pid):
                hidden.add(pid)
        except OSError:
            continue  # gone meanwhile
    return Held(sum({**mapped, **sizes}.values()), frozenset(hidden), files)


def _mapped(text: bytes) -> Iterable[tuple[_Key, int, bytes, bool]]:
    """Mappings of what has no name: of what, up to where in it, its name once, and if private."""
    for start, end, kind, offset, major, minor, inode, name in _DELETED.findall(text):
        key = os.makedev(int(major, 16), int(minor, 16)), int(inode)
        yield key, int(offset, 16) + int(end, 16) - int(start, 16), name, kind == b"p"


def _is_file(info: os.stat_result) -> bool:
    return stat.S_ISREG(info.st_mode)


def _is_over(pid: int) -> bool:
    """Whether it has ended: then it has nothing, and shows nothing."""
    try:
        return bool(_ZOMBIE.search(Path(f"/proc/{pid}/status").read_bytes()))
    except OSError:
        return True
