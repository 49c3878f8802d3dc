"""Uploads on their way: in a file of ours, until it is known that they are what was signed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent_service.workspaces.beneath import refusal
from agent_service.workspaces.stage import Stage
from agent_service.workspaces.threads import Threads

_CHUNK = 1024 * 1024


class Upload:
    """One upload. `path` may be moved away once it is `sealed`."""

    def __init__(self, path: Path, handle: int, threads: Threads) -> None:
        self.path = path
        self._handle = handle
        self._threads = threads
        self._digest = hashlib.sha256()
        self._pending = bytearray()

    async def write(self, data: bytes) -> None:
        """Add to it. Raises `StorageFull`."""
        self._pending += data
        if len(self._pending) >= _CHUNK:
            await self._flush()

    async def seal(self) -> str:
        """It is complete and on the disk; gives its SHA-256. Raises `StorageFull`."""
        await self._flush()
        await self._threads.quick(os.fsync, self._handle)
        return self._digest.hexdigest()

    async def _flush(self) -> None:
        data, self._pending = bytes(self._pending), bytearray()
        await self._threads.quick(self._store, data)

    def _store(self, data: bytes) -> None:
        self._digest.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as error:
            raise refusal(error, "the upload") from None


class Uploads:
    def __init__(self, stage: Stage, threads: Threads) -> None:
        self._stage = stage
        self._threads = threads

    @asynccontextmanager
    async def new(self) -> AsyncIterator[Upload]:
        """A new upload; what was not moved away is removed at the end."""
        path, handle = self._open()
        try:
            yield Upload(path, handle, self._threads)
        finally:
            os.close(handle)
            path.unlink(missing_ok=True)

    def _open(self) -> tuple[Path, int]:
        try:
            path = self._stage.new()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            return path, os.open(path, flags, 0o600)
        except OSError as error:
            raise refusal(error, "the upload") from None
