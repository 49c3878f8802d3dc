"""Messages of people, handed over in their order; Discord is never asked to wait."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial

import discord
import structlog

from adapters.contract import (
    Address,
    CommandIn,
    DeliveryError,
    Host,
    Identity,
    Inbound,
    Lifecycle,
    MessageIn,
    MessageOut,
    NotStored,
    PostRef,
    Receipt,
    Sender,
)
from adapters.discord import errors, places, words
from adapters.discord.lanes import Lanes
from adapters.discord.members import Members
from adapters.discord.threads import Threads

log = structlog.get_logger()
_MOST = 10_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_WARM_EVERY = 60.0
"""Seconds in which typing in one place is told once."""
_KINDS = (discord.MessageType.default, discord.MessageType.reply)
UNREADABLE = (
    "I cannot read messages here in which I am not mentioned: this bot has no Message Content "
    "Intent. Mention me in each message, reply to one of mine, or write to me directly."
)
Send = Callable[[Address, MessageOut, str], Awaitable[PostRef]]


class Messages:
    """Of one client. `content` says whether unmentioned messages can be read."""

    def __init__(
        self,
        host: Host,
        client: discord.Client,
        members: Members,
        threads: Threads,
        lanes: Lanes,
        send: Send,
        asked: Callable[[Address, Identity], None],
        *,
        content: bool,
    ) -> None:
        self._host = host
        self._client = client
        self._members = members
        self._threads = threads
        self._lanes = lanes
        self._send = send
        self._asked = asked
        self._content = content
        self._said: OrderedDict[int, tuple[Address, Sender]] = OrderedDict()
        self._found: OrderedDict[int, object] = OrderedDict()
        self._warmed: OrderedDict[tuple[int, int], float] = OrderedDict()

    @property
    def me(self) -> int:
        return self._client.user.id if self._client.user is not None else 0

    def heard(self, message: discord.Message) -> None:
        """A message was written."""
        if self._concerns(message):
            self._lanes.put(message.channel.id, partial(self.take, message))

    def edited(self, event: discord.RawMessageUpdateEvent) -> None:
        known = self._said.get(event.message_id)
        if known is not None and event.message.edited_at is not None:
            text = words.text_of(event.message, self.me)
            change = Lifecycle("edited", *known, key=str(event.message_id), text=text)
            self._lanes.put(event.channel_id, partial(self._tell, change))

    def deleted(self, message: int, channel: int) -> None:
        known = self._said.get(message)
        if known is not None:
            change = Lifecycle("deleted", *known, key=str(message))
            self._lanes.put(channel, partial(self._tell, change))

    def typing(self, event: discord.RawTypingEvent) -> None:
        """Somebody is about to write where the bot listens."""
        key, now = (event.channel_id, event.user_id), time.monotonic()
        if event.user_id == self.me or now - self._warmed.get(key, -_WARM_EVERY) < _WARM_EVERY:
            return
        self._warmed[key] = now
        if len(self._warmed) > _MOST:
            self._warmed.popitem(last=False)
        at: Address | None = places.direct(event.channel_id)
        if event.guild_id is not None:
            guild = self._client.get_guild(event.guild_id)
            thread = guild.get_thread(event.channel_id) if guild is not None else None
            at = places.of_channel(thread)
        if at is not None:
            self._lanes.put(event.channel_id, partial(self._opened, at, event))

    async def _opened(self, at: Address, event: discord.RawTypingEvent) -> None:
        who = Sender(places.identity(event.user_id), "")
        if event.user is not None:
            guild = self._client.get_guild(event.guild_id or 0)
            who = await self._members.sender(event.user, guild, direct=at.direct)
        await self._tell(Lifecycle("opened", at, who))

    async def take(self, message: discord.Message, at: Address | None = None) -> None:
        """Hand a message over, where it is for the bot. Returns once it is stored."""
        if not self._concerns(message):
            return
        named = words.names(message, self.me)
        at = at or await self._where(message, named)
        if at is None or not (named or at.direct or await self._host.known(at)):
            return
        if self._is_blank(message) and not (named or at.direct):
            if not self._content:
                await self._say(at, UNREADABLE, f"unreadable:{at.thread or at.channel}")
            return
        sender = await self._members.sender(message.author, message.guild, direct=at.direct)
        self._asked(at, sender.identity)
        raw = words.raw_of(message, self.me)
        command = words.command_of(raw)
        if command is None and at.direct:
            command = words.spoken_command_of(raw)
        if command is not None and not message.attachments:
            await self._command(message, at, sender, *command)
            return
        text = words.text_of(message, self.me)
        if at.thread == str(message.id) and message.channel.id == int(at.channel):
            self._threads.note(message.id, words.title_of(text))
        said = MessageIn(
            keys=(str(message.id),),
            address=at,
            sender=sender,
            text=text,
            order=message.id,
            sent_at=message.created_at,
            attachments=words.attachments_of(message),
            quotes=words.quotes_of(message),
        )
        self._said[message.id] = (at, sender)
        if len(self._said) > _MOST:
            self._said.popitem(last=False)
        await self._stored(said)

    def _concerns(self, message: discord.Message) -> bool:
        """Bots, webhooks and Discord's own messages are nobody's request."""
        return (
            not message.author.bot
            and message.webhook_id is None
            and message.type in _KINDS
            and message.author.id != self.me
        )

    def _is_blank(self, message: discord.Message) -> bool:
        return not (message.content or message.attachments or message.message_snapshots)

    async def _where(self, message: discord.Message, named: bool) -> Address | None:
        """The conversation it belongs to; a mention in a channel begins one in a thread."""
        channel: object = message.channel
        if isinstance(channel, discord.PartialMessageable):
            # Discord has not told about it, as of a thread that appeared a moment ago.
            channel = await self._looked_up(message.channel.id)
        at = places.of_channel(channel)
        if at is None or at.thread or at.direct:
            return at
        kind = getattr(channel, "type", None)
        if named and kind in places.THREADED:
            return places.in_thread(int(at.tenant), int(at.channel), message.id)
        return at if named else None

    async def _looked_up(self, channel: int) -> object:
        if channel in self._found:
            return self._found[channel]
        pause = _FIRST_PAUSE
        while True:
            try:
                found = await self._client.fetch_channel(channel)
            except (discord.NotFound, discord.Forbidden, discord.InvalidData):
                return None
            except errors.TROUBLE:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            self._found[channel] = found
            if len(self._found) > _MOST:
                self._found.popitem(last=False)
            return found

    async def _command(
        self, message: discord.Message, at: Address, sender: Sender, name: str, rest: str
    ) -> None:
        given = CommandIn(
            keys=(str(message.id),),
            address=at,
            sender=sender,
            name=name,
            rest=rest,
            people=words.people_in(rest),
        )
        receipt = await self._stored(given)
        if receipt.reply is not None:
            await self._say_out(at, receipt.reply, f"reply:{message.id}")

    async def _stored(self, inbound: Inbound) -> Receipt:
        """Discord does not tell of it again, so it is tried until the bridge has it. What is lost
        with this process is read back by the next."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._host.submit(inbound)
            except NotStored as error:
                log.warning("not stored, trying again", error=str(error), seconds=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _tell(self, change: Lifecycle) -> None:
        try:
            await self._host.submit(change)
        except NotStored as error:
            log.warning("a change was not stored", kind=change.kind, error=str(error))

    async def _say(self, at: Address, text: str, key: str) -> None:
        await self._say_out(at, MessageOut(text, tone="notice"), key)

    async def _say_out(self, at: Address, message: MessageOut, key: str) -> None:
        try:
            await self._send(at, message, key)
        except DeliveryError as error:
            log.warning("an answer could not be shown", error=str(error))
