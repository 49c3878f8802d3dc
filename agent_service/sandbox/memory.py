"""How much memory there is for sessions: the machine's, or what its container may take of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from agent_service.sandbox.limits import MIB

PART = 0.6
"""For sessions. The rest is for the service, the bridge, and what a session takes more than was
expected of it."""
_TOTAL = re.compile(r"^MemTotal:\s+(\d+) kB$", re.MULTILINE)


def budget(mib: int | None) -> int:
    """Bytes for all sessions: what an operator set, or a part of what there is."""
    return int(there_is() * PART) if mib is None else mib * MIB


def there_is(root: Path = Path("/")) -> int:
    """Bytes. `root` is where this system's `/proc` and `/sys` are."""
    found = _TOTAL.search((root / "proc/meminfo").read_text())
    total = int(found[1]) * 1024 if found else 1024 * MIB
    return min([total, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """Those of the control groups that this process is in, of either version."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            mounted, file = ("", "memory.max")
            if controllers:
                mounted, file = ("memory", "memory.limit_in_bytes")
                if "memory" not in controllers.split(","):
                    continue
            base = root / "sys/fs/cgroup" / mounted
            here = base / path.lstrip("/")
            # In a container the path may be the host's, and what is mounted the group itself.
            for folder in {base, here, *(p for p in here.parents if p.is_relative_to(base))}:
                with contextlib.suppress(OSError, ValueError):
                    yield int((folder / file).read_text())
