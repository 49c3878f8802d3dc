"""The agent service as a process of an ordinary user, also where root runs the tests."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from agent_service.testing import ScriptedMessages
from tests.agent_service.process import ProcessAgent

IS_ROOT = os.geteuid() == 0
UID = 20_000 + os.getpid() % 20_000 if IS_ROOT else os.geteuid()
"""One of this test run's own: the kernel counts processes by user."""
REPOSITORY = Path(__file__).parents[2]

_WITH_KEYRING = """
import ctypes, os, sys
keyctl = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
ctypes.CDLL(None).syscall(keyctl, 1, b"bsc")
ctypes.CDLL(None).syscall(keyctl, 8, -4, -3)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A login gives its processes a keyring in common; so does this."""


def _closed_above(path: Path) -> Path | None:
    """The uppermost folder above `path` that an ordinary user cannot enter."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def _before(spot: Path) -> tuple[str, ...]:
    if not IS_ROOT:
        return ()
    needed = {Path(p) for p in (sys.base_prefix, sys.prefix, REPOSITORY)}
    closed = {path: folder for path in sorted(needed) if (folder := _closed_above(path))}
    lines = ["set -e"]
    spots = {path: spot / str(number) for number, path in enumerate(closed)}
    for path, place in spots.items():
        lines.append(f"mkdir -p {place}; mount --bind {shlex.quote(str(path))} {place}")
    lines += [
        f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(folder))}"
        for folder in sorted(set(closed.values()))
    ]
    for path, place in spots.items():
        quoted = shlex.quote(str(path))
        lines.append(f"mkdir -p {quoted}; mount --bind {place} {quoted}")
    drop = f"setpriv --reuid {UID} --regid {UID} --clear-groups --inh-caps=-all"
    lines.append(f'exec {drop} -- "$0" -c {shlex.quote(_WITH_KEYRING)} "$@"')
    # What is mounted is mounted for this process alone, and ends with it.
    return ("unshare", "-m", "sh", "-c", "\n".join(lines), sys.executable)


def before(home: Path) -> tuple[str, ...]:
    """Words in front of a command, so that it runs as the ordinary user and finds what it needs."""
    return _before(home / ".mounts")


def give(folder: Path) -> None:
    """Make a folder and all in it the ordinary user's."""
    if IS_ROOT:
        subprocess.run(["chown", "-hR", f"{UID}:{UID}", str(folder)], check=True)


class OrdinaryAgent(ProcessAgent):
    """A service of an ordinary user who owns its home."""

    def __init__(self, home: Path, model: ScriptedMessages, **settings: Any) -> None:
        super().__init__(home, model, before=before(home), **settings)

    async def start(self, *, ready: bool = True) -> None:
        give(self.home)
        await super().start(ready=ready)
