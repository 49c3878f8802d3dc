"""Files that terminals handed over, until nobody asks for them any more."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from adapters.console.protocol import LARGEST_FILE
from adapters.contract import FileRefused

KEEP_DAYS = 7
_CHUNK = 256 * 1024
_REF = re.compile(r"[0-9]{1,12}\.[A-Za-z0-9_-]{8,64}")


class Uploads:
    """In a directory of the adapter's own. Raises `OSError` where the disk does not let it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)
        oldest = time.time() - KEEP_DAYS * 86_400
        for path in directory.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    @staticmethod
    def ref(user: str, upload: str) -> str:
        """The handle of an upload; nobody can name another user's."""
        return f"{user}.{upload}"

    def write(self, ref: str, at: int, data: bytes) -> None:
        """A part of it; the same again is harmless. Raises `FileRefused` for too large a file."""
        if at + len(data) > LARGEST_FILE:
            raise FileRefused(f"A file has at most {LARGEST_FILE >> 20} MiB here.")
        handle = os.open(self._path(ref), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                done = os.pwrite(handle, view, at)
                view, at = view[done:], at + done
        finally:
            os.close(handle)

    def size(self, ref: str) -> int | None:
        """Bytes that are there; None where there is no such upload."""
        try:
            return self._path(ref).stat().st_size
        except (FileNotFoundError, FileRefused):
            return None

    async def read(self, ref: str) -> AsyncIterator[bytes]:
        """Its bytes, in order. Raises `FileRefused` where it is gone."""
        try:
            file = self._path(ref).open("rb")
        except FileNotFoundError:
            raise FileRefused("It is not kept any more.", remedy="Attach it again.") from None
        with file:
            while data := await asyncio.to_thread(file.read, _CHUNK):
                yield data

    def _path(self, ref: str) -> Path:
        if not _REF.fullmatch(ref):
            raise FileRefused("There is no such file.", remedy="Attach it again.")
        return self._directory / ref
