"""Keeps a claim code that can be used in its file, as long as nobody runs the deployment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from bridge.people import claim
from bridge.store.database import Database
from bridge.store.errors import StoreTrouble

log = structlog.get_logger()

LOOK_SECONDS = 60.0


class Claiming:
    """One a process; each of several nodes has a code of its own, and any of them is good."""

    def __init__(self, db: Database, home: Path, *, look: float = LOOK_SECONDS) -> None:
        """Looks every `look` seconds whether a code is needed."""
        self._db = db
        self._home = home
        self._look = look

    async def renew(self) -> None:
        """A code that is good where one is needed, and none where none is. Raises
        `StoreTrouble`."""
        before = await asyncio.to_thread(claim.read, self._home)
        code = await self._db.tx(claim.renew, self._db, before)
        if code != before:
            try:
                await asyncio.to_thread(claim.write, self._home, code)
            except OSError as error:
                file = str(claim.file_of(self._home))
                log.error("claim code not written", file=file, error=str(error))

    async def run(self) -> None:
        """For ever: who runs it may leave."""
        while True:
            await asyncio.sleep(self._look)
            try:
                await self.renew()
            except StoreTrouble as error:
                log.error("claim code not renewed", error=str(error), remedy=error.remedy)
            except Exception:
                log.exception("claim code not renewed")
