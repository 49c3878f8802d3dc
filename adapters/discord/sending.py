"""Posts and edits, so that each is shown once whatever breaks in between."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import discord

from adapters.contract import (
    Address,
    DeliveryError,
    FileOut,
    Gone,
    Identity,
    MessageOut,
    NotAllowed,
    PostRef,
    TryLater,
)
from adapters.discord import errors, permissions
from adapters.discord.choices import view_of
from adapters.discord.ephemeral import Ephemerals
from adapters.discord.memory import Memory, Tried, digest_of, nonce_of
from adapters.discord.places import PLATFORM, channel_of
from adapters.discord.post import Rendered, render, without_files
from adapters.discord.threads import Threads

T = TypeVar("T")
NONCE_SECONDS = 120.0
"""So long Discord surely knows a post's nonce. Later the channel is read back first."""
_SKEW_SECONDS = 300.0
"""By which the clocks of this machine and of Discord may differ."""
_MOST_READ = 300
_PATIENCE = 90.0
"""Seconds that one call may take, discord.py's own waiting included."""
_MOST_DIRECT = 5000
NOBODY = discord.AllowedMentions.none()


class Sending:
    """`client` gives a client that is logged in."""

    def __init__(
        self,
        client: Callable[[], Awaitable[discord.Client]],
        memory: Memory,
        threads: Threads,
        ephemerals: Ephemerals,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._memory = memory
        self._threads = threads
        self._ephemerals = ephemerals
        self._clock = clock
        self._direct: OrderedDict[str, int] = OrderedDict()
        self._overflowed: OrderedDict[int, None] = OrderedDict()

    async def send(self, to: Address, message: MessageOut, key: str) -> PostRef:
        """See the port."""
        rendered = render(message)
        channel = channel_of(to)
        if (who := message.only_for) is not None:
            # In a direct conversation nobody else reads, and what is there stays there.
            shown = None
            if not to.direct:
                shown = await self._ephemerals.send(who, channel, key, rendered)
            if shown is not None:
                return shown
            channel = await self._direct_with(who)
        names = tuple(file.name for file in rendered.files)
        digest = digest_of(rendered.content, names)
        tried = await self._kept(lambda: self._memory.begin(channel, key, digest))
        found = tried.message or await self._posted_before(channel, tried)
        if found is None:
            here = to if channel == channel_of(to) else None
            found = await self._post(channel, here, rendered, nonce_of(channel, key))
            self._note_overflow(found, rendered)
        if tried.message is None:
            number = found
            await self._kept(lambda: self._memory.keep(channel, key, number))
        return PostRef(f"{channel}/{found}")

    async def edit(self, to: Address, ref: PostRef, message: MessageOut) -> None:
        """See the port. What Discord will not have edited any more is taken away and `Gone`, so
        that it is posted anew."""
        rendered = render(message)
        if ref.id.startswith("e/"):
            await self._ephemerals.edit(ref, rendered)
            return
        channel, number = _numbers(ref)
        client = await self._client()
        post = client.get_partial_messageable(channel).get_partial_message(number)
        try:
            await self._edited(client, post, channel, rendered)
        except discord.HTTPException as error:
            if error.code == errors.OLD_EDITS:
                await _away(post)
                raise Gone("Discord has no more edits of a message of that age.") from error
            raise self._refused(client, error, to, rendered) from error
        except errors.TROUBLE as error:
            raise errors.of(error) from error
        self._note_overflow(number, rendered)

    async def _edited(
        self, client: discord.Client, post: discord.PartialMessage, channel: int, new: Rendered
    ) -> None:
        files = _files(new)
        # What came with it before stays, but for what did not fit into an earlier state.
        replaces = files or post.id in self._overflowed

        async def edit() -> None:
            async with asyncio.timeout(_PATIENCE):
                await post.edit(
                    content=new.content,
                    view=view_of(new.rows),
                    allowed_mentions=NOBODY,
                    attachments=files if replaces else discord.utils.MISSING,
                )

        try:
            await edit()
        except discord.HTTPException as error:
            if error.code != errors.ARCHIVED:
                raise
            # An archived thread takes no edits; a locked one stays closed.
            await client.http.edit_channel(channel, archived=False)
            for file in files:
                file.reset(seek=True)
            await edit()

    async def _post(self, channel: int, at: Address | None, new: Rendered, nonce: str) -> int:
        client = await self._client()
        if at is not None and self._threads.waits(at):
            await self._threads.open(client, at)
        try:
            return await self._posted(client, channel, new, nonce)
        except discord.HTTPException as error:
            opens = at is not None and at.thread and not at.direct
            if error.code != errors.UNKNOWN_CHANNEL or not opens or at is None:
                raise self._refused(client, error, at, new) from error
        except errors.TROUBLE as error:
            raise errors.of(error) from error
        await self._threads.open(client, at)
        try:
            return await self._posted(client, channel, new, nonce)
        except errors.TROUBLE as error:
            raise self._refused(client, error, at, new) from error

    async def _posted(self, client: discord.Client, channel: int, new: Rendered, nonce: str) -> int:
        try:
            return await self._taken(client, channel, new, nonce)
        except discord.HTTPException as error:
            if not new.files or (error.status != 413 and error.code != errors.TOO_LARGE):
                raise
        return await self._taken(client, channel, without_files(new), nonce)

    async def _taken(self, client: discord.Client, channel: int, new: Rendered, nonce: str) -> int:
        async with asyncio.timeout(_PATIENCE):
            made = await client.get_partial_messageable(channel).send(
                new.content or None,
                files=_files(new),
                nonce=nonce,
                allowed_mentions=NOBODY,
                suppress_embeds=True,
                view=view_of(new.rows),
            )
        return made.id

    async def _posted_before(self, channel: int, tried: Tried) -> int | None:
        """What an earlier try put there, where Discord may not know its nonce any more."""
        if tried.since is None or self._clock() - tried.since < NONCE_SECONDS:
            return None
        client = await self._client()
        since = datetime.fromtimestamp(tried.since - _SKEW_SECONDS, UTC)
        after = discord.Object(discord.utils.time_snowflake(since))
        me = client.user.id if client.user is not None else 0
        try:
            place = client.get_partial_messageable(channel)
            async for post in place.history(limit=_MOST_READ, after=after, oldest_first=True):
                names = tuple(file.filename for file in post.attachments)
                if post.author.id != me or digest_of(post.content, names) not in tried.digests:
                    continue
                if not await self._kept(partial(self._memory.known, post.id)):
                    return post.id
        except discord.NotFound:
            return None  # a thread that is not open yet
        except errors.TROUBLE as error:
            raise errors.of(error, "Read Message History (READ_MESSAGE_HISTORY)") from error
        return None

    async def _direct_with(self, who: Identity) -> int:
        if who.platform != PLATFORM or not who.user.isdecimal():
            raise NotAllowed("That person has no account on Discord.")
        if (known := self._direct.get(who.user)) is not None:
            return known
        client = await self._client()
        try:
            channel = await client.create_dm(discord.Object(int(who.user)))
        except errors.TROUBLE as error:
            raise errors.of(error) from error
        self._direct[who.user] = channel.id
        while len(self._direct) > _MOST_DIRECT:
            self._direct.popitem(last=False)
        return channel.id

    def _refused(
        self, client: discord.Client, error: BaseException, at: Address | None, new: Rendered
    ) -> DeliveryError:
        if at is None or at.direct:
            return errors.of(error)
        wanted = permissions.for_posting(at, bool(new.files))
        return errors.of(error, permissions.missing(client, at, wanted))

    def _note_overflow(self, post: int, new: Rendered) -> None:
        self._overflowed.pop(post, None)
        if new.overflow:
            self._overflowed[post] = None
        while len(self._overflowed) > _MOST_DIRECT:
            self._overflowed.popitem(last=False)

    async def _kept(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except (sqlite3.Error, OSError) as error:
            raise TryLater(
                f"What was posted on Discord cannot be noted ({error}).",
                after=2.0,
                remedy="Make room on the disk of the deployment's home.",
            ) from error


async def _away(post: discord.PartialMessage) -> None:
    try:
        await post.delete()
    except discord.NotFound:
        return
    except errors.TROUBLE as error:
        raise errors.of(error) from error


def _files(new: Rendered) -> list[discord.File]:
    return [_file(file) for file in new.files]


def _file(file: FileOut) -> discord.File:
    return discord.File(io.BytesIO(file.data), filename=file.name)


def _numbers(ref: PostRef) -> tuple[int, int]:
    channel, _, number = ref.id.partition("/")
    if not (channel.isdecimal() and number.isdecimal() and len(ref.id) < 60):
        raise Gone("There is no such post.")
    return int(channel), int(number)
