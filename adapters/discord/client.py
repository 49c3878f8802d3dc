"""discord.py's client as this adapter uses it: few intents, no caches, events handed on at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import aiohttp
import discord
import structlog

from adapters.discord.setup import Setup

log = structlog.get_logger()
# Its debug lines hold tokens of interactions; and it warns that it could not do voice.
logging.getLogger("discord").setLevel(logging.INFO)
logging.getLogger("discord.client").setLevel(logging.ERROR)
_CLOSE_SECONDS = 1.0
_LONGEST_WAIT = 60.0
"""Seconds that discord.py may wait inside a call for a rate limit; what is longer is `TryLater`."""


class Ear(Protocol):
    """Who hears of one client's events, in their order. Calls of an event return at once."""

    async def register(self) -> None:
        """Before the first event."""
        ...

    async def stop(self) -> None:
        """Nothing of it is left running after this."""
        ...

    def connected(self, shard: int) -> None:
        """A new session began: what was said before it is not told."""
        ...

    def ready(self, shard: int) -> None:
        """Its servers are known."""
        ...

    def message(self, message: discord.Message) -> None: ...
    def edited(self, event: discord.RawMessageUpdateEvent) -> None: ...
    def deleted(self, message: int, channel: int) -> None: ...
    def typing(self, event: discord.RawTypingEvent) -> None: ...
    def interaction(self, interaction: discord.Interaction) -> None: ...


class Client(discord.AutoShardedClient):
    """`watch` is told when events come and when they do not; `ear` hears them. In seconds: `pause`
    is what Discord asks for between two IDENTIFYs, `quiet` the silence after which all servers are
    taken to have been told."""

    def __init__(
        self,
        *,
        content: bool,
        pause: float = 5.0,
        quiet: float = 1.0,
        watch: Callable[[bool], None] = lambda _: None,
    ) -> None:
        intents = discord.Intents.none()
        intents.guilds = intents.guild_messages = intents.dm_messages = True
        intents.guild_typing = intents.dm_typing = True
        intents.message_content = content
        super().__init__(
            intents=intents,
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            guild_ready_timeout=quiet,
            max_ratelimit_timeout=_LONGEST_WAIT,
            allowed_mentions=discord.AllowedMentions.none(),
        )
        self.ear: Ear | None = None
        self._watch = watch
        self._pause = pause

    async def log_in(self, setup: Setup) -> None:
        """For calls of the API. Raises what discord.py raises, with nothing left open."""
        try:
            await self.login(setup.token)
        except BaseException:
            await self.http.close()
            raise

    async def end(self) -> None:
        """Close everything, within a second or so whatever Discord does."""
        with suppress(TimeoutError, discord.DiscordException, aiohttp.ClientError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.close()
        await self.http.close()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Not more often than Discord bears."""
        if not initial:
            await asyncio.sleep(self._pause)

    async def on_error(self, event_method: str, /, *args: object, **kwargs: object) -> None:
        """An event that could not be handled hides no other."""
        log.exception("an event of Discord could not be handled", handler=event_method)

    async def on_shard_connect(self, shard: int) -> None:
        if self.ear is not None:
            self.ear.connected(shard)

    async def on_shard_ready(self, shard: int) -> None:
        if self.ear is not None:
            self.ear.ready(shard)
        self._watch(True)

    async def on_shard_resumed(self, _shard: int) -> None:
        self._watch(True)

    async def on_shard_disconnect(self, _shard: int) -> None:
        self._watch(False)

    async def on_message(self, message: discord.Message) -> None:
        if self.ear is not None:
            self.ear.message(message)

    async def on_raw_message_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        if self.ear is not None:
            self.ear.edited(event)

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        if self.ear is not None:
            self.ear.deleted(event.message_id, event.channel_id)

    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        if self.ear is not None:
            for message in sorted(event.message_ids):
                self.ear.deleted(message, event.channel_id)

    async def on_raw_typing(self, event: discord.RawTypingEvent) -> None:
        if self.ear is not None:
            self.ear.typing(event)

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        if self.ear is not None:
            self.ear.interaction(interaction)
