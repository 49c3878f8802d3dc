"""Messages that stand before one in its place: read back where its sender asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import sqlalchemy as sa
import structlog

from adapters.contract import Adapter, DeliveryError, Earlier, Identity, Quote, TryLater
from agent_service.contract import PROMPT_LIMIT, QuotedText, errors
from bridge.engine.job import Job
from bridge.people import access
from bridge.store.database import Database

log = structlog.get_logger()

MOST = 100
"""Messages that can be asked for at once."""
TRIES = 4
PAUSE, LONGEST_PAUSE = 0.5, 30.0
CALL_SECONDS = 40.0
CANNOT = "This chat cannot be read back. Copy what matters into your message."


class Reading:
    """One a bridge."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def bring(
        self, job: Job, adapter: Adapter, stopped: Callable[[], bool]
    ) -> tuple[QuotedText, ...] | None:
        """The quotes of the request with the earlier messages before them, the oldest left out
        where they are more than a prompt takes. None where it was `stopped`. Raises
        `Unavailable` where they cannot be read, in words for the sender."""
        found = await self._read(job, adapter, stopped)
        if found is None:
            return None
        named = await self._db.tx(quoted, found, durable=False)
        given = tuple(QuotedText(**each) for each in job.request["quotes"])
        room = PROMPT_LIMIT - len(job.request["prompt"]) - sum(_size(each) for each in given)
        kept: list[QuotedText] = []
        for each in reversed(named):
            room -= _size(each)
            if room < 0:
                log.info("earlier messages left out", message=job.message, kept=len(kept))
                break
            kept.append(each)
        return (*reversed(kept), *given)

    async def _read(
        self, job: Job, adapter: Adapter, stopped: Callable[[], bool]
    ) -> tuple[Quote, ...] | None:
        if not isinstance(adapter, Earlier):
            raise errors.Unavailable(CANNOT)
        before = job.said.keys[0] if job.said.keys else ""
        tries = 0
        while not stopped():
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    found = await adapter.earlier(job.at, before, min(job.said.earlier, MOST))
                return tuple(found)
            except Exception as error:
                tries += 1
                passing = isinstance(error, TryLater) or not isinstance(error, DeliveryError)
                log.warning("not read back", adapter=adapter.name, tries=tries, error=str(error))
                if not passing or tries >= TRIES:
                    raise _unread(error) from error
                asked = error.after if isinstance(error, TryLater) else 0.0
                await asyncio.sleep(min(max(PAUSE * tries, asked), LONGEST_PAUSE))
        return None


def quoted(con: sa.Connection, quotes: tuple[Quote, ...]) -> list[QuotedText]:
    """Quotes as the agent gets them: each with the id of the person whose account wrote it."""
    ids: dict[Identity | None, str | None] = {None: None}
    for quote in quotes:
        if quote.by not in ids and quote.by is not None:
            who = access.find(con, quote.by)
            ids[quote.by] = who.id if who is not None else None
    return [
        QuotedText(access.author(quote.author, ids[quote.by]), _whole(quote.text))
        for quote in quotes
    ]


def _whole(text: str) -> str:
    """A platform may give half a character."""
    return text.encode("utf-8", "replace").decode()


def _size(quote: QuotedText) -> int:
    return len(quote.author) + len(quote.text)


def _unread(error: Exception) -> errors.Unavailable:
    if isinstance(error, DeliveryError):
        return errors.Unavailable(
            f"The earlier messages could not be read. {error}", remedy=error.remedy
        )
    return errors.Unavailable("The earlier messages could not be read.")
