"""Files that came with a message: fetched from the platform, put into the workspace's `inbox/`.

Done before the turn is put. It may be done any number of times: a file keeps its name in the
workspace, so one that is fetched again takes its own place.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from adapters.contract import Adapter, Attachment, FileRefused, TryLater
from agent_service.contract import AttachedFile, QuotedText, errors, size_in_words
from bridge.agent_client import TRANSIENT, Patience
from bridge.agent_files import AgentFiles, Spooled, Taken
from bridge.engine.job import Job
from bridge.present.filename import folded, safe_name, unique_name
from bridge.store.database import Database
from bridge.store.schema import attachment

log = structlog.get_logger()

INBOX = "inbox"
TRIES = 3
PAUSE = 0.5
LONGEST_PAUSE = 30.0
SILENCE = 60.0
"""Seconds without a byte after which a fetch counts as broken off."""
_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bytes of one file, of all files of a message, and how many those may be."""

    file: int
    message: int
    files: int


@dataclass(frozen=True, slots=True)
class Brought:
    """What came of a message's files. `refused` is in words for the sender, a line a file."""

    files: tuple[AttachedFile, ...]
    refused: tuple[str, ...]
    quotes: tuple[QuotedText, ...] = ()
    """All of the request, those that were read back included."""

    @property
    def as_request(self) -> dict[str, Any]:
        """What it changes in the request of the turn."""
        return {
            "attachments": [asdict(file) for file in self.files],
            "quotes": [asdict(quote) for quote in self.quotes],
        }


Where = Callable[..., Awaitable[str]]
"""Gives a file's path in the workspace; another one for who lost the path that is given."""


class _Refused(Exception):
    """This file cannot be had; `str(error)` says why and what to do."""


class _Stopped(Exception):
    """Nobody wants it any more."""


class Attaching:
    """One a bridge."""

    def __init__(self, db: Database, files: AgentFiles, limits: FileLimits, spool: Path) -> None:
        """`spool` is a folder on a disk with room for files on their way; made if need be."""
        self._db = db
        self._files = files
        self._limits = limits
        self._spool = spool

    async def bring(
        self, job: Job, adapter: Adapter, *, patience: Patience, stopped: Callable[[], bool]
    ) -> Brought | None:
        """All files of the message, those that cannot be had named with the reason. None where it
        was `stopped`. Raises a `ServiceError` where the agent service stays away."""
        workspace = str(job.request["workspace"])
        brought: list[AttachedFile] = []
        refused: list[str] = []
        left = self._limits.message
        for number, wanted in enumerate(job.said.attachments):
            name = safe_name(wanted.name)
            try:
                if number >= self._limits.files:
                    raise _Refused(
                        f"{self._limits.files} files are the most that one message can bring; "
                        "send it in another one."
                    )
                where = partial(self._db.tx, self._path, workspace, job.at.platform, wanted, name)
                file = await self._one(
                    adapter, wanted, workspace, where, left, patience=patience, stopped=stopped
                )
            except _Refused as why:
                log.info("file refused", message=job.message, reason=str(why))
                refused.append(f"{name}: {why}")
            except _Stopped:
                return None
            else:
                left -= file.size
                brought.append(file)
        given = tuple(QuotedText(**each) for each in job.request["quotes"])
        return Brought(tuple(brought), tuple(refused), given)

    def _path(
        self,
        con: sa.Connection,
        workspace: str,
        platform: str,
        wanted: Attachment,
        name: str,
        lost: str = "",
    ) -> str:
        """Where the file goes: in the place it had before, or under a name that nothing has. Where
        it `lost` its place to another file, that keeps it and this one has a new one."""
        origin = hashlib.sha256(f"{platform}\0{wanted.ref}".encode("utf-8", "replace")).hexdigest()
        c = attachment.c
        had = sa.select(c.path).where(c.workspace == workspace, c.origin == origin)
        if lost:
            place = (c.workspace == workspace, c.origin == origin, c.path == lost)
            other = hashlib.sha256(f"taken\0{lost}".encode()).hexdigest()
            con.execute(attachment.update().where(*place).values(origin=other))
        taken = set(con.scalars(sa.select(c.name).where(c.workspace == workspace)))
        while True:
            if (known := con.scalar(had)) is not None:
                return str(known)
            name = unique_name(name, taken)
            fresh = self._db.insert(attachment).values(
                workspace=workspace,
                name=folded(name),
                path=f"{INBOX}/{name}",
                origin=origin,
                at=self._db.now,
            )
            if con.execute(fresh.on_conflict_do_nothing()).rowcount:
                return f"{INBOX}/{name}"
            taken.add(folded(name))  # another node was quicker

    async def _one(
        self,
        adapter: Adapter,
        wanted: Attachment,
        workspace: str,
        where: Where,
        left: int,
        *,
        patience: Patience,
        stopped: Callable[[], bool],
    ) -> AttachedFile:
        most = min(self._limits.file, left)
        if wanted.size > most:
            raise self._too_large(size_in_words(wanted.size), left)
        await asyncio.to_thread(self._spool.mkdir, mode=0o700, parents=True, exist_ok=True)
        try:
            # It has no name: whatever happens to this process, nothing is left of it.
            with tempfile.TemporaryFile(dir=self._spool, buffering=0) as spooled:
                handle = spooled.fileno()
                size, sha256 = await self._fetch(adapter, wanted, handle, most, left, stopped)
                file = Spooled(handle, size, sha256)
                return await self._upload(workspace, where, file, patience, stopped)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            log.error("no room for files on their way", folder=str(self._spool))
            raise _Refused(
                "there is no room on the bridge's disk; an operator has to free space."
            ) from error

    async def _fetch(
        self,
        adapter: Adapter,
        wanted: Attachment,
        handle: int,
        most: int,
        left: int,
        stopped: Callable[[], bool],
    ) -> tuple[int, str]:
        """(size, SHA-256) of what is in the open file then."""
        tries = 0
        while True:
            if stopped():
                raise _Stopped
            os.ftruncate(handle, 0)
            try:
                return await self._copy(adapter, wanted, handle, most, left, stopped)
            except (_Refused, _Stopped):
                raise
            except FileRefused as error:
                raise _Refused(f"{error} {error.remedy}".strip()) from error
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                trouble: Exception = error
            except Exception as error:  # noqa: BLE001 - an adapter's own mistake is one of these
                trouble = error
            tries += 1
            why = f"{type(trouble).__name__}: {trouble}"
            log.warning("file not fetched", adapter=adapter.name, tries=tries, error=why)
            if tries >= TRIES:
                raise _Refused("it could not be fetched; send it again.") from trouble
            asked = trouble.after if isinstance(trouble, TryLater) else 0.0
            await asyncio.sleep(min(max(PAUSE * tries, asked), LONGEST_PAUSE))

    async def _copy(
        self,
        adapter: Adapter,
        wanted: Attachment,
        handle: int,
        most: int,
        left: int,
        stopped: Callable[[], bool],
    ) -> tuple[int, str]:
        digest, size, place = hashlib.sha256(), 0, 0
        pending = bytearray()

        def write(block: bytes, at: int) -> None:
            digest.update(block)
            view = memoryview(block)
            while view:
                done = os.pwrite(handle, view, at)
                view, at = view[done:], at + done

        chunks = adapter.fetch(wanted)
        try:
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        chunk = await anext(chunks, None)
                except TimeoutError:
                    raise TimeoutError(f"nothing came for {SILENCE:.0f} s") from None
                if stopped():
                    raise _Stopped
                if chunk is not None:
                    size += len(chunk)
                    if size > most:
                        raise self._too_large(f"more than {size_in_words(most)}", left)
                    pending += chunk
                if len(pending) >= _BLOCK or chunk is None:
                    block, pending = bytes(pending), bytearray()
                    await _finished(partial(write, block, place))
                    place += len(block)
                if chunk is None:
                    return size, digest.hexdigest()
        finally:
            if (close := getattr(chunks, "aclose", None)) is not None:
                await close()

    async def _upload(
        self,
        workspace: str,
        where: Where,
        file: Spooled,
        patience: Patience,
        stopped: Callable[[], bool],
    ) -> AttachedFile:
        path = await where()
        while True:
            if stopped():
                raise _Stopped
            try:
                await self._files.upload(workspace, path, file)
            except Taken:
                path = await where(path)
            except TRANSIENT as error:
                await patience.trouble(error)
            except errors.ServiceError as error:
                raise _Refused(f"{error.message} {error.remedy}".strip()) from error
            else:
                patience.well()
                return AttachedFile(path, file.size, file.sha256)

    def _too_large(self, size: str, left: int) -> _Refused:
        if left < self._limits.file:
            return _Refused(
                f"it has {size}, and {size_in_words(self._limits.message)} are the most for all "
                "files of a message; send it in another one."
            )
        return _Refused(
            f"it has {size}, and {size_in_words(self._limits.file)} are the most for a file; "
            "send a smaller one, or the part that matters."
        )


async def _finished(work: Callable[[], None]) -> None:
    """Cancelled, it waits until the thread is done: the file it writes to is closed next."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
