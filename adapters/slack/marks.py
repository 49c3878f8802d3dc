"""The status line of a thread, and marks on people's messages. Worth no error: what cannot be
shown is left out."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Literal

import structlog
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from adapters.contract import Address, DeliveryError, NotAllowed
from adapters.slack.api import Api, Refused, TooFast
from adapters.slack.arrivals import Arrivals
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
MOST_WAIT = 60.0
IN_BETWEEN_WAIT = 0.5
"""Seconds that a mark may have to wait for its turn, or it is left out."""
_LONGEST = 100
Method = Callable[..., Awaitable[AsyncSlackResponse]]


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
    """Slack bears few of them a minute. So while there are too many, how it stands in between is
    left to the status line, and only the outcome is marked."""

    def __init__(self, api: Api, pace: Pace, arrivals: Arrivals) -> None:
        self._api = api
        self._pace = pace
        self._arrivals = arrivals
        self._last: OrderedDict[str, Mark] = OrderedDict()

    async def put(self, message_key: str, mark: Mark) -> None:
        """Replace the bot's mark on the message."""
        channel, _, ts = message_key.partition(":")
        if not channel or not ts or self._too_many(mark):
            return
        before = self._last.get(message_key)
        if before == mark:
            return
        if before is not None:
            gone = [before]
        elif await self._arrivals.age(message_key) < float("inf"):
            gone = []
        else:  # an earlier process may have marked it
            gone = [one for one in NAMES if one != mark]
        self._keep(message_key, mark)
        await self._call("mark", self._api.web.reactions_add, channel, ts, mark)
        for one in gone:
            await self._call("unmark", self._api.web.reactions_remove, channel, ts, one)

    def _too_many(self, mark: Mark) -> bool:
        wait = max(self._pace.wait("mark"), self._pace.wait("unmark"))
        return wait > (IN_BETWEEN_WAIT if mark in ("queued", "working") else MOST_WAIT)

    def _keep(self, message_key: str, mark: Mark) -> None:
        self._last[message_key] = mark
        self._last.move_to_end(message_key)
        if len(self._last) > MOST_MARKED:
            self._last.popitem(last=False)

    async def _call(
        self, kind: Literal["mark", "unmark"], method: Method, channel: str, ts: str, mark: Mark
    ) -> None:
        await self._pace.turn(kind)
        try:
            await self._api.ask(method(channel=channel, timestamp=ts, name=NAMES[mark]))
        except TooFast as error:
            self._pace.block(kind, error.after)
        except DeliveryError as error:
            log.debug("mark not set", error=str(error))
