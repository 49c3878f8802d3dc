"""What was said while nobody listened: read back once when a new session begins.

Discord repeats what was missed only where a session is resumed. The bridge knows how far each
conversation was stored; what came later is handed over again, and what it has already is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import discord
import structlog

from adapters.contract import Address, Host, Place
from adapters.discord import errors, permissions
from adapters.discord.lanes import Lanes
from adapters.discord.places import PLATFORM, channel_of

log = structlog.get_logger()
READ_BACK = timedelta(days=1)
"""What is older is left alone: its answer would surprise."""
_CONVERSATIONS = timedelta(days=14)
_MARGIN = timedelta(minutes=10)
"""Mentions may have been missed so long before the last message that was stored."""
_MOST_CHANNELS = 200
_AT_ONCE = 4
_MOST_MESSAGES = 500
Take = Callable[[discord.Message, Address | None], Awaitable[None]]


class Gaps:
    """Of one client. `take` hands a message over, where it is for the bot."""

    def __init__(self, host: Host, client: discord.Client, lanes: Lanes, take: Take) -> None:
        self._host = host
        self._client = client
        self._lanes = lanes
        self._take = take
        self._few = asyncio.Semaphore(_AT_ONCE)

    async def read_back(self, shard: int, shards: int) -> None:
        """Put the reading of what this shard missed before all that comes now."""
        now = datetime.now(UTC)
        oldest = discord.utils.time_snowflake(now - READ_BACK)
        known = await self._host.places(PLATFORM, now - _CONVERSATIONS)
        mine = [place for place in known if _shard_of(place, shards) == shard]
        mine.sort(key=lambda place: place.newest, reverse=True)  # what was active last comes first
        for place in mine:
            if self._nothing_new(place):
                continue
            channel = channel_of(place.address)
            after = max(place.newest, oldest)
            self._lanes.put_first(channel, partial(self._one, channel, place.address, after))
        newest = max((place.newest for place in known), default=0)
        if not newest:
            return
        margin = discord.utils.snowflake_time(newest) - _MARGIN
        since = max(discord.utils.time_snowflake(margin), oldest)
        seen = {channel_of(place.address) for place in mine}
        others = [one for one in self._others(shard, shards, since) if one not in seen]
        if len(others) > _MOST_CHANNELS:
            log.warning("not all channels are read back", channels=len(others))
        for channel in others[:_MOST_CHANNELS]:
            self._lanes.put_first(channel, partial(self._one, channel, None, since))

    def _others(self, shard: int, shards: int, since: int) -> list[int]:
        """Where somebody may have mentioned the bot since then, the newest first."""
        found: list[tuple[int, int]] = []
        for guild in self._client.guilds:
            if (guild.id >> 22) % shards != shard:
                continue
            places: list[discord.TextChannel | discord.Thread]
            places = [*guild.text_channels, *guild.threads]
            for channel in places:
                last = channel.last_message_id or 0
                if last > since and permissions.can_read_back(channel):
                    found.append((last, channel.id))
        return [channel for _, channel in sorted(found, reverse=True)]

    def _nothing_new(self, place: Place) -> bool:
        """Whether Discord's list of open threads says so already: one that is put away was
        written in by nobody."""
        at = place.address
        guild = self._client.get_guild(int(at.tenant)) if at.tenant.isdecimal() else None
        if guild is None or not guild.channels or not at.thread:
            return False
        thread = guild.get_thread(int(at.thread))
        return thread is None or (thread.last_message_id or place.newest + 1) <= place.newest

    async def _one(self, channel: int, at: Address | None, after: int) -> None:
        async with self._few:
            await self._read(channel, at, after)

    async def _read(self, channel: int, at: Address | None, after: int) -> None:
        place = self._client.get_channel(channel)
        if not isinstance(place, discord.TextChannel | discord.Thread | discord.DMChannel):
            guild = int(at.tenant) if at is not None and at.tenant else None
            place = self._client.get_partial_messageable(channel, guild_id=guild)  # type: ignore[assignment]
        try:
            async for message in place.history(  # type: ignore[union-attr]
                limit=_MOST_MESSAGES, after=discord.Object(after), oldest_first=True
            ):
                await self._take(message, at)
        except (discord.NotFound, discord.Forbidden):
            return  # it is gone, or closed to the bot
        except errors.TROUBLE as error:
            log.warning("could not be read back", channel=channel, error=type(error).__name__)


def _shard_of(place: Place, shards: int) -> int:
    """Direct messages are on the first shard."""
    tenant = place.address.tenant
    return (int(tenant) >> 22) % shards if tenant.isdecimal() else 0
