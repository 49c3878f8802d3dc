"""Discord as the bridge sees it: `adapters.contract.Adapter` with typing and marks."""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import aiohttp
import structlog

from adapters.contract import (
    AdapterContext,
    Address,
    Attachment,
    Capabilities,
    DeliveryError,
    Health,
    Host,
    Identity,
    MessageOut,
    NotAllowed,
    PostRef,
    Quote,
    SetupInvalid,
)
from adapters.discord import files, hosts, setup
from adapters.discord.connection import Connection
from adapters.discord.earlier import earlier
from adapters.discord.ephemeral import Ephemerals
from adapters.discord.marks import Mark, Marks
from adapters.discord.memory import Memory
from adapters.discord.post import TEXT_LIMIT
from adapters.discord.sending import Sending
from adapters.discord.session import Session
from adapters.discord.threads import Threads

log = structlog.get_logger()
EDIT_INTERVAL = 1.2
_TELL_EVERY = 3600.0
"""Seconds in which somebody is told once what the bot lacks in a place."""
_MOST = 2000
_BLOCKED = (
    "<@{user}>, I have an answer for you alone, but you take no direct messages from me. Allow "
    "them (the server's menu, Privacy Settings, Direct Messages), or use `/bascule`: its answers "
    "are seen by you alone."
)
_DOWNLOAD = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=50)


class DiscordAdapter:
    """`pause` and `quiet` are those of `client.Client`; `clock` tells the time since the epoch."""

    name = "discord"
    caps = Capabilities(
        text_limit=TEXT_LIMIT, edit_interval=EDIT_INTERVAL, file_limit=files.FILE_LIMIT
    )

    def __init__(
        self,
        context: AdapterContext,
        *,
        pause: float = 5.0,
        quiet: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises `SetupInvalid` for settings that cannot be, and where its memory cannot be."""
        self._setup = setup.read(context.settings)
        try:
            memory = Memory(context.state_dir, clock)
        except (sqlite3.Error, OSError) as error:
            raise SetupInvalid(
                f"Discord's memory in {context.state_dir} cannot be used ({error}).",
                remedy="Give the bridge's user that directory and room on its disk.",
            ) from None
        self._connection = Connection(self._setup, pause=pause, quiet=quiet)
        self._threads = Threads()
        self._ephemerals = Ephemerals()
        self._sending = Sending(
            self._connection.client, memory, self._threads, self._ephemerals, clock
        )
        self._marks = Marks(self._connection.client, self._threads)
        self._askers: OrderedDict[Address, Identity] = OrderedDict()
        self._told: OrderedDict[tuple[Address, str], float] = OrderedDict()

    async def run(self, host: Host) -> None:
        """Serve until cancelled. See the port."""
        hosts.use_api(self._setup.api)
        try:
            await self._connection.serve(
                lambda client: Session(
                    host, client, self._threads, self._ephemerals, self.send, self._asked
                )
            )
        finally:
            await self._marks.stop()
            await self._connection.close()

    async def send(self, to: Address, message: MessageOut, key: str) -> PostRef:
        """See the port."""
        try:
            return await self._sending.send(to, message, key)
        except NotAllowed as error:
            if message.only_for is not None and not to.direct:
                await self._tell_blocked(to, message.only_for)
            elif not to.direct:
                await self._tell_lacking(to, error)
            raise

    async def edit(self, to: Address, ref: PostRef, message: MessageOut) -> None:
        """See the port."""
        await self._sending.edit(to, ref, message)

    async def fetch(self, attachment: Attachment) -> AsyncGenerator[bytes]:
        """See the port."""
        client = await self._connection.client()
        async with aiohttp.ClientSession(timeout=_DOWNLOAD) as session:
            chunks = files.fetch(client, session, self._setup.api, attachment.ref)
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    async def earlier(self, at: Address, before: str, most: int) -> Sequence[Quote]:
        """What was written there before the message of that key; see `earlier.earlier`."""
        return await earlier(await self._connection.client(), at, before, most)

    async def health(self) -> Health:
        return self._connection.health()

    async def status(self, at: Address, text: str) -> None:
        """See `adapters.contract.Status`."""
        await self._marks.status(at, text)

    async def react(self, at: Address, message_key: str, mark: Mark) -> None:
        """See `adapters.contract.Reacts`."""
        await self._marks.react(at, message_key, mark)

    def _asked(self, at: Address, who: Identity) -> None:
        """Who wrote last in a place: they hear of it when the bot cannot answer there."""
        self._askers[at] = who
        self._askers.move_to_end(at)
        if len(self._askers) > _MOST:
            self._askers.popitem(last=False)

    async def _tell_lacking(self, at: Address, error: NotAllowed) -> None:
        """Who asked hears directly what the bot lacks there."""
        who = self._askers.get(at)
        if who is None or not self._due(at, error.missing):
            return
        text = f"I cannot answer you in <#{at.channel}>: {error} {error.remedy}"
        word = MessageOut(text.strip(), only_for=who, tone="error")
        await self._tell(at, word, f"lacking:{error.missing}")

    async def _tell_blocked(self, at: Address, who: Identity) -> None:
        """Whoever takes no direct messages hears that there is one, and nothing of it."""
        if self._due(at, who.user):
            # In the channel: for this alone no thread is opened.
            place = replace(at, thread="") if self._threads.waits(at) else at
            await self._tell(
                place, MessageOut(_BLOCKED.format(user=who.user)), f"blocked:{who.user}"
            )

    async def _tell(self, at: Address, word: MessageOut, key: str) -> None:
        try:
            await self._sending.send(at, word, f"{key}:{int(time.time())}")
        except DeliveryError as error:
            log.warning("a problem with Discord could not be told", error=str(error))

    def _due(self, at: Address, what: str) -> bool:
        key, now = (at, what), time.monotonic()
        if now - self._told.get(key, -_TELL_EVERY) < _TELL_EVERY:
            return False
        self._told[key] = now
        if len(self._told) > _MOST:
            self._told.popitem(last=False)
        return True
