"""A file of the terminal's own machine, made ready to be handed over.

The terminal reads it, with the rights of whoever sits there: the adapter opens no path that a
person names.
"""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from adapters.console.link import new_key
from adapters.console.protocol import LARGEST_FILE, PART, Given, Part


class Unreadable(Exception):
    """`str(error)` says what is wrong with the file."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a message names, and what is handed over before it."""

    given: Given
    parts: tuple[Part, ...]


def ready(path: str) -> Ready:
    """Read it. Raises `Unreadable`. Blocks for as long as it takes to read."""
    place = Path(path)
    try:
        place = place.expanduser()
        handle = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                raise Unreadable(f"{place} is not a file.")
            if info.st_size > LARGEST_FILE:
                raise Unreadable(f"{place} has more than {LARGEST_FILE >> 20} MiB.")
            data = file.read(LARGEST_FILE)
    except (OSError, ValueError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Unreadable(f"{place} cannot be read: {why}.") from None
    upload = new_key()
    parts = tuple(
        Part(
            key=new_key(),
            upload=upload,
            at=at,
            data=base64.b64encode(data[at : at + PART]).decode(),
        )
        for at in range(0, max(len(data), 1), PART)
    )
    name = place.name.encode("utf-8", "replace").decode()
    return Ready(Given(upload=upload, name=name, size=len(data)), parts)
