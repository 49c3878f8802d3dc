"""Files that come with a post, kept under names that cannot lead anywhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from adapters.console.protocol import File
from adapters.contract import FileOut

_UNSAFE = re.compile(r"[^\w.,+=@ -]")
LONGEST_NAME = 120
"""Bytes of a file's name as it is kept."""


def safe_name(name: str) -> str:
    """A plain file name: no directory, not hidden, no control character, of a bearable length."""
    last = re.split(r"[/\\]", name)[-1]
    plain = _UNSAFE.sub("_", last).strip(" .")
    stem, dot, ending = plain.rpartition(".")
    if not dot or len(ending) > 12:
        stem, dot, ending = plain, "", ""
    tail = f"{dot}{ending}"
    room = LONGEST_NAME - len(tail.encode())
    return f"{stem.encode()[:room].decode(errors='ignore')}{tail}" or "file"


def keep(directory: Path, files: Sequence[FileOut]) -> tuple[File, ...]:
    """Write them; the same files again take the same paths. Raises `OSError`."""
    if not files:
        return ()
    directory.mkdir(mode=0o700, exist_ok=True)
    kept = []
    for number, file in enumerate(files, 1):
        path = directory / f"{number}-{safe_name(file.name)}"
        fresh = directory / f"{number}.new"
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(file.data)
        fresh.replace(path)
        kept.append(File(file.name, str(path), len(file.data)))
    return tuple(kept)
