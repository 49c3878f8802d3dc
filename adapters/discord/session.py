"""Everything that listens to one client: messages, interactions, and what was missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import discord
import structlog

from adapters.contract import Address, Host, Identity
from adapters.discord import slash
from adapters.discord.asking import Asking
from adapters.discord.client import Client
from adapters.discord.ephemeral import Ephemerals
from adapters.discord.gaps import Gaps
from adapters.discord.inbound import Messages, Send
from adapters.discord.interactions import Interactions
from adapters.discord.lanes import Lanes
from adapters.discord.members import Members
from adapters.discord.threads import Threads

log = structlog.get_logger()


class Session:
    """Implements `client.Ear`. `asked` hears who wrote where."""

    def __init__(
        self,
        host: Host,
        client: Client,
        threads: Threads,
        ephemerals: Ephemerals,
        send: Send,
        asked: Callable[[Address, Identity], None],
    ) -> None:
        self._host = host
        self._client = client
        self._lanes = Lanes()
        members = Members(client)
        self._messages = Messages(
            host, client, members, threads, self._lanes, send, asked,
            content=client.intents.message_content,
        )  # fmt: skip
        asking = Asking(host, client, members, threads, ephemerals)
        self._interactions = Interactions(host, client, members, self._lanes, ephemerals, asking)
        self._gaps = Gaps(host, client, self._lanes, self._messages.take)
        self._catching_up: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def register(self) -> None:
        """Tell Discord which commands there are."""
        known = self._client.application
        brought = known is None or known.user_integration_config is not None
        payload = slash.payload(self._host.command_views(admin=True), brought=brought)
        application = self._client.application_id or 0
        try:
            await self._client.http.bulk_upsert_global_commands(application, payload)
        except discord.HTTPException as error:
            if error.status >= 500 or error.status in (401, 429):
                raise
            # Words and buttons work without them.
            log.error("Discord refuses the commands", status=error.status, error=error.text[:500])

    def connected(self, shard: int) -> None:
        self._catching_up.add(shard)
        self._lanes.hold()

    def ready(self, shard: int) -> None:
        task = asyncio.create_task(self._catch_up(shard))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _catch_up(self, shard: int) -> None:
        try:
            await self._gaps.read_back(shard, self._client.shard_count or 1)
        except Exception:
            log.exception("what was missed could not be read back")
        self._catching_up.discard(shard)
        if not self._catching_up:
            self._lanes.release()

    def message(self, message: discord.Message) -> None:
        self._messages.heard(message)

    def edited(self, event: discord.RawMessageUpdateEvent) -> None:
        self._messages.edited(event)

    def deleted(self, message: int, channel: int) -> None:
        self._messages.deleted(message, channel)

    def typing(self, event: discord.RawTypingEvent) -> None:
        self._messages.typing(event)

    def interaction(self, interaction: discord.Interaction) -> None:
        self._interactions.heard(interaction)

    async def stop(self) -> None:
        """Nothing more is submitted after this returns."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._interactions.stop()
        await self._lanes.stop()
