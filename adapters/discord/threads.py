"""Threads that are opened from a message, once each, when there is something to say in them.

Such a thread has the id of its message, so it is known before it is open: a request is stored
first, and after any crash the next post opens what is not open yet. Who is not let in opens none.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from typing import Literal

import discord

from adapters.contract import Address
from adapters.discord import errors, permissions, words

_MOST = 5000
_ARCHIVED_AFTER: Literal[4320] = 4320
"""Minutes without a word until Discord puts a thread away; anybody's word brings it back."""


class Threads:
    """`note` what a thread would be called; `open` it."""

    def __init__(self) -> None:
        self._titles: OrderedDict[int, str] = OrderedDict()
        self._opened: OrderedDict[int, None] = OrderedDict()
        self._locks: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()

    def note(self, thread: int, title: str) -> None:
        """A thread that is not open yet."""
        if thread in self._opened:
            return
        self._titles[thread] = title
        while len(self._titles) > _MOST:
            self._titles.popitem(last=False)

    def waits(self, at: Address) -> bool:
        """Whether it is known not to be open yet."""
        return bool(at.thread) and int(at.thread) in self._titles

    async def open(self, client: discord.Client, at: Address) -> None:
        """Returns once it is open. Raises `DeliveryError`: `Gone` where its message is."""
        channel, thread = int(at.channel), int(at.thread)
        lock = self._locks.setdefault(thread, asyncio.Lock())
        async with lock:
            if thread in self._opened:
                return  # somebody else was quicker; or it was deleted, and stays so
            title = self._titles.get(thread) or await self._title(client, channel, thread)
            try:
                await client.http.start_thread_with_message(
                    channel, thread, name=title, auto_archive_duration=_ARCHIVED_AFTER
                )
            except discord.HTTPException as error:
                if error.code != errors.THREAD_EXISTS:
                    lacking = permissions.missing(
                        client, at, ("view_channel", "create_public_threads")
                    )
                    raise errors.of(error, lacking) from error
            except errors.TROUBLE as error:
                raise errors.of(error) from error
            self._titles.pop(thread, None)
            self._opened[thread] = None
            if len(self._opened) > _MOST:
                self._opened.popitem(last=False)

    async def _title(self, client: discord.Client, channel: int, thread: int) -> str:
        try:
            said = await client.get_partial_messageable(channel).fetch_message(thread)
        except errors.TROUBLE as error:
            raise errors.of(error) from error
        me = client.user.id if client.user is not None else 0
        return words.title_of(words.text_of(said, me))
