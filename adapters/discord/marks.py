"""Typing while the agent works, and marks on people's own messages. Neither ever fails."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

import discord
import structlog

from adapters.contract import Address, DeliveryError
from adapters.discord import errors
from adapters.discord.places import channel_of
from adapters.discord.threads import Threads

log = structlog.get_logger()
Mark: TypeAlias = Literal["queued", "working", "done", "failed"]
EMOJI: dict[Mark, str] = {"queued": "🕒", "working": "👀", "done": "✅", "failed": "❌"}
_TYPING_EVERY = 8.0
"""Discord shows it for ten seconds."""
_LONGEST_TYPING = 3600.0
_MOST = 5000


class Marks:
    """`client` gives a client that is logged in."""

    def __init__(self, client: Callable[[], Awaitable[discord.Client]], threads: Threads) -> None:
        self._client = client
        self._threads = threads
        self._typing: dict[int, asyncio.Task[None]] = {}
        self._last: OrderedDict[int, Mark] = OrderedDict()

    async def status(self, at: Address, text: str) -> None:
        """See the port. Discord has no words for it: the bot types."""
        try:
            channel = channel_of(at)
        except DeliveryError:
            return
        running = self._typing.get(channel)
        if text and running is None:
            task = self._typing[channel] = asyncio.create_task(self._type(at, channel))
            task.add_done_callback(lambda _: self._typing.pop(channel, None))
        elif not text and running is not None:
            running.cancel()

    async def stop(self) -> None:
        tasks = list(self._typing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _type(self, at: Address, channel: int) -> None:
        over = time.monotonic() + _LONGEST_TYPING
        while time.monotonic() < over:
            if not self._threads.waits(at):
                try:
                    client = await self._client()
                    await client.http.send_typing(channel)
                except (DeliveryError, *errors.TROUBLE) as error:
                    if not isinstance(error, discord.NotFound):
                        log.debug("typing is not shown", error=type(error).__name__)
            await asyncio.sleep(_TYPING_EVERY)

    async def react(self, at: Address, message_key: str, mark: Mark) -> None:
        """See the port."""
        if not (message_key.isdecimal() and len(message_key) <= 20):
            return
        message = int(message_key)
        try:
            channels = [channel_of(at)]
            if at.thread == message_key:  # the message the thread was opened from
                channels.insert(0, int(at.channel))
            client = await self._client()
            for channel in channels:
                if await self._mark(client, channel, message, mark):
                    return
        except (DeliveryError, ValueError, *errors.TROUBLE) as error:
            log.debug("a mark is not shown", error=type(error).__name__)

    async def _mark(self, client: discord.Client, channel: int, message: int, mark: Mark) -> bool:
        """False where the message is not in that channel."""
        post = client.get_partial_messageable(channel).get_partial_message(message)
        before = self._last.get(message)
        if before == mark:
            return True
        try:
            await post.add_reaction(EMOJI[mark])
        except discord.NotFound:
            return False
        self._last[message] = mark
        self._last.move_to_end(message)
        if len(self._last) > _MOST:
            self._last.popitem(last=False)
        # After a restart the earlier mark is not known: whatever it was, it goes.
        over = mark in ("done", "failed")
        earlier: list[Mark] = [before] if before else (["queued", "working"] if over else [])
        if client.user is not None:
            for one in earlier:
                try:
                    await post.remove_reaction(EMOJI[one], client.user)
                except discord.NotFound:
                    continue
        return True
