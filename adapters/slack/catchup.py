"""What was said while nobody listened, read back and handed over."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from adapters.contract import Address, DeliveryError, Host, NotStored, Place, TryLater
from adapters.slack import thread as slack_thread
from adapters.slack import words
from adapters.slack.api import Api, Bot
from adapters.slack.events import said
from adapters.slack.intake import Intake, slack_time
from adapters.slack.pace import Pace

log = structlog.get_logger()
SERVED = timedelta(days=30)
"""Conversations in which somebody wrote since then are read."""
LONGEST_GAP = 7 * 86_400.0
MARGIN = 300.0
"""Seconds before a gap that are read too: what is handed over twice is a duplicate."""
MOST_PLACES = 1_000
MARK_SECONDS = 30.0
TRIES = 5


class CatchUp:
    """Slack itself delivers again for about six minutes; this is for what lasted longer."""

    def __init__(
        self, host: Host, api: Api, bot: Bot, pace: Pace, intake: Intake, directory: Path
    ) -> None:
        self._host = host
        self._api = api
        self._bot = bot
        self._pace = pace
        self._intake = intake
        self._path = directory / "listening.json"

    async def mark(self) -> None:
        """Note that somebody listens now."""
        text = json.dumps({"at": time.time()})
        temporary = self._path.with_suffix(".new")
        try:
            await asyncio.to_thread(temporary.write_text, text, "utf-8")
            await asyncio.to_thread(temporary.replace, self._path)
        except OSError as error:
            log.warning("not noted that Slack is listened to", error=str(error))

    def marked(self) -> float:
        """When somebody listened last, by the clock of this machine; 0 where nobody did."""
        try:
            return float(json.loads(self._path.read_text("utf-8"))["at"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0

    async def read_back(self, since: float) -> int:
        """Hand over what was said since then, or in the last week; how many messages were looked
        at. Never raises for a place that cannot be read."""
        oldest = max(since - MARGIN, time.time() - LONGEST_GAP)
        places = await self._host.places("slack", datetime.now(UTC) - SERVED)
        places = sorted(places, key=lambda place: place.newest, reverse=True)
        if len(places) > MOST_PLACES:
            log.warning("not all conversations are read back", most=MOST_PLACES, all=len(places))
        looked = 0
        for place in places[:MOST_PLACES]:
            if place.address.tenant == self._bot.team and place.address.thread:
                looked += await self._hand_over(place.address, self._of_place(place, oldest))
        for channel in dict.fromkeys(place.address.channel for place in places[:MOST_PLACES]):
            at = Address("slack", self._bot.team, channel)
            looked += await self._hand_over(at, self._new_in(channel, oldest))
        return looked

    async def _of_place(self, place: Place, oldest: float) -> AsyncIterator[Mapping[str, Any]]:
        at = place.address
        since = max(slack_time(place.newest + 1), f"{oldest:.6f}")
        await self._pace.turn("read")
        async for message in slack_thread.replies(self._api, at.channel, at.thread, since):
            yield message

    async def _new_in(self, channel: str, oldest: float) -> AsyncIterator[Mapping[str, Any]]:
        """Threads that began meanwhile: in a direct message any, elsewhere those with a mention."""
        await self._pace.turn("read")
        found = [one async for one in slack_thread.history(self._api, channel, f"{oldest:.6f}")]
        for root in reversed(found):
            called = self._bot.user in words.mentioned(str(root.get("text") or ""))
            if not called and not channel.startswith("D"):
                continue
            if not root.get("reply_count"):
                yield root
                continue
            await self._pace.turn("read")
            ts = str(root["ts"])
            async for message in slack_thread.replies(self._api, channel, ts, ts):
                yield message

    async def _hand_over(self, at: Address, messages: AsyncIterator[Mapping[str, Any]]) -> int:
        looked = 0
        try:
            async for message in messages:
                event = said(message, at.channel)
                if event is not None:
                    looked += 1
                    await self._insist(event)
        except DeliveryError as error:
            log.info("not read back", channel=at.channel, error=str(error))
        return looked

    async def _insist(self, event: Any) -> None:
        for tried in range(TRIES):
            try:
                await self._intake.said(event)
            except (NotStored, TryLater) as error:
                if tried == TRIES - 1:
                    log.error("not handed over", ts=event.ts, error=str(error))
                    return
                await asyncio.sleep(getattr(error, "after", 1.0) * (tried + 1))
            else:
                return
