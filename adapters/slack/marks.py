"""The status line of a thread, and marks on people's messages. Worth no error: what cannot be
shown is left out."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Literal

import structlog

from adapters.contract import Address, DeliveryError, NotAllowed
from adapters.slack.api import Api, Refused
from adapters.slack.pace import Pace
from adapters.slack.words import clipped

log = structlog.get_logger()
Mark = Literal["queued", "working", "done", "failed"]
NAMES: dict[Mark, str] = {
    "queued": "hourglass_flowing_sand",
    "working": "eyes",
    "done": "white_check_mark",
    "failed": "warning",
}
REFRESH_SECONDS = 80.0
"""Slack clears a status after two minutes."""
WITHOUT_SECONDS = 600.0
"""A workspace that has no status lines is not asked again for so long."""
LEAST_SECONDS = 4.0
MOST_MARKED = 5_000
MOST_WAIT = 30.0
_LONGEST = 100


class StatusLines:
    """Each thread's line changes once in `LEAST_SECONDS` at most, clearing aside."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._wanted: dict[tuple[str, str], str] = {}
        self._told: dict[tuple[str, str], tuple[str, float]] = {}
        self._without_until = 0.0

    async def show(self, at: Address, text: str) -> None:
        """Show `text`, or clear with an empty one."""
        place = (at.channel, at.thread)
        if not at.thread:
            return
        if text:
            self._wanted[place] = text
            _, told = self._told.get(place, ("", float("-inf")))
            if time.monotonic() - told >= LEAST_SECONDS:
                await self._tell(place, text)
        elif self._wanted.pop(place, None) is not None or place in self._told:
            await self._tell(place, "")
            self._told.pop(place, None)

    async def keep(self) -> None:
        """Show what had to wait, and again what Slack would forget; runs until it is cancelled."""
        while True:
            await asyncio.sleep(LEAST_SECONDS / 4)
            now = time.monotonic()
            for place, text in list(self._wanted.items()):
                shown, told = self._told.get(place, ("", float("-inf")))
                pause = REFRESH_SECONDS if shown == text else LEAST_SECONDS
                if now - told >= pause and self._wanted.get(place) == text:
                    await self._tell(place, text)

    async def _tell(self, place: tuple[str, str], text: str) -> None:
        self._told[place] = (text, time.monotonic())
        if time.monotonic() < self._without_until:
            return
        channel, thread = place
        call = self._api.web.assistant_threads_setStatus(
            channel_id=channel, thread_ts=thread, status=clipped(text, _LONGEST)
        )
        try:
            await self._api.ask(call)
        except (NotAllowed, Refused) as error:
            log.info("no status lines here", error=str(error))
            self._without_until = time.monotonic() + WITHOUT_SECONDS
        except DeliveryError as error:
            log.debug("status not shown", error=str(error))


class Marks:
    def __init__(self, api: Api, pace: Pace) -> None:
        self._api = api
        self._pace = pace
        self._last: OrderedDict[str, Mark] = OrderedDict()

    async def put(self, message_key: str, mark: Mark) -> None:
        """Replace the bot's mark on the message."""
        channel, _, ts = message_key.partition(":")
        if not channel or not ts or self._pace.wait("mark") > MOST_WAIT:
            return
        before = self._last.pop(message_key, None)
        self._last[message_key] = mark
        if len(self._last) > MOST_MARKED:
            self._last.popitem(last=False)
        if before == mark:
            return
        if before is not None:
            gone = [before]
        else:  # an earlier process may have marked it
            gone = [] if mark == "queued" else [one for one in NAMES if one != mark]
        await self._call(self._api.web.reactions_add, channel, ts, mark)
        for one in gone:
            await self._call(self._api.web.reactions_remove, channel, ts, one)

    async def _call(self, method: object, channel: str, ts: str, mark: Mark) -> None:
        assert callable(method)  # noqa: S101 - two methods of the client with the same arguments
        await self._pace.turn("mark")
        try:
            await self._api.ask(method(channel=channel, timestamp=ts, name=NAMES[mark]))
        except DeliveryError as error:
            log.debug("mark not set", error=str(error))
