"""One terminal, seen from the bridge."""

from __future__ import annotations

import asyncio
import base64
import itertools
import mimetypes
import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from adapters.console.posts import Posts
from adapters.console.protocol import (
    CONVERSATION,
    LINE_LIMIT,
    VERSION,
    Act,
    Command,
    Down,
    Entry,
    Hello,
    Malformed,
    Part,
    Post,
    Refused,
    Said,
    Say,
    Taken,
    Trouble,
    Welcome,
    body_of,
    down_line,
    read_up,
    said_text,
)
from adapters.console.room import Room, Rooms
from adapters.console.uploads import Uploads
from adapters.contract import (
    ActionIn,
    Attachment,
    CommandIn,
    FileRefused,
    Host,
    Inbound,
    Lifecycle,
    MessageIn,
    NotStored,
    Receipt,
    Sender,
)

log = structlog.get_logger()

HELLO_SECONDS = 10.0
MOST_WAITING = 10_000
"""Values that may wait for a terminal that does not read; then it is cut off and comes again."""

OPEN = ("queued", "working")


class _Dismissed(Exception):
    """The terminal cannot be served; `str(error)` is told to it."""


class Connection:
    """Implements `adapters.console.room.Terminal`. `serve` returns when the terminal is gone."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        sender: Sender,
        host: Host,
        posts: Posts,
        rooms: Rooms,
        uploads: Uploads,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._sender = sender
        self._host = host
        self._posts = posts
        self._rooms = rooms
        self._uploads = uploads
        self._waiting: OrderedDict[str, Down] = OrderedDict()
        self._numbers = itertools.count()
        self._more = asyncio.Event()

    def show(self, value: Down) -> None:
        """In order; a post that is still waiting to be written is replaced by its newer state."""
        name = f"post {value.ref}" if isinstance(value, Post) else str(next(self._numbers))
        self._waiting[name] = value
        if len(self._waiting) > MOST_WAITING:
            self._writer.transport.abort()
        self._more.set()

    async def serve(self) -> None:
        try:
            await self._serve()
        except ConnectionError:
            log.debug("terminal went away")

    async def _serve(self) -> None:
        room: Room | None = None
        writing = asyncio.create_task(self._write())
        try:
            room = await self._hello()
            while room is not None and (line := await self._line()) is not None:
                await self._take(room, line)
        except _Dismissed as why:
            self._waiting.clear()
            self._writer.write(down_line(Trouble(message=str(why), fatal=True)))
            await self._writer.drain()
        finally:
            if room is not None:
                self._rooms.leave(room, self)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self._writer.close()

    async def _hello(self) -> Room | None:
        """The room it goes into, or None when it left without a word. Raises `_Dismissed`."""
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                line = await self._line()
        except TimeoutError:
            raise _Dismissed("Nothing was said for a while.") from None
        if line is None:
            return None
        try:
            hello = read_up(line)
        except Malformed as error:
            raise _Dismissed(f"That was no greeting: {error}") from None
        if not isinstance(hello, Hello):
            raise _Dismissed("The first line must be a greeting.")
        if hello.version != VERSION:
            raise _Dismissed(
                f"This terminal speaks version {hello.version} of the console's language, the "
                f"bridge version {VERSION}: use the `bascule` that the bridge was started with, "
                "or restart the bridge after an update."
            )
        if not CONVERSATION.fullmatch(hello.conversation):
            raise _Dismissed(
                "A conversation's name has 1 to 64 letters, digits, dots, dashes or underscores."
            )
        return await self._enter(hello)

    async def _enter(self, hello: Hello) -> Room:
        room = self._rooms.at(f"{self._sender.identity.user}/{hello.conversation}")
        # In the room first: what changes while the history is read comes twice, not never.
        room.terminals.add(self)
        try:
            entries = await asyncio.to_thread(self._posts.recent, room.place, hello.since)
            entries = await self._settled(room, entries)
        except sqlite3.Error as error:
            self._rooms.leave(room, self)
            log.error("history not read", error=str(error))
            raise _Dismissed("The bridge cannot read its memory; its log says why.") from None
        behind = list(self._waiting.values())
        self._waiting.clear()
        welcome = Welcome(
            version=VERSION,
            name=self._sender.name,
            conversation=hello.conversation,
            entries=entries,
            status=room.status,
        )
        for value in (welcome, *behind):
            self.show(value)
        try:
            await room.submit(self._host, lambda _: Lifecycle("opened", room.address, self._sender))
        except NotStored as error:
            log.info("arrival not handed over", error=str(error))
        return room

    async def _settled(self, room: Room, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """The entries, without a message that seems open although nothing goes on any more: the
        mark that ended it may have been lost with an earlier process."""
        seems_open = [e for e in entries if isinstance(e, Said) and e.mark in OPEN]
        if not seems_open:
            return entries
        views = await self._host.conversations(self._sender.identity)
        if not any(view.address == room.address and view.state == "idle" for view in views):
            return entries
        for said in seems_open:
            await asyncio.to_thread(self._posts.mark, room.place, said.key, "done")
        return tuple(replace(e, mark="done") if e in seems_open else e for e in entries)

    async def _take(self, room: Room, line: bytes) -> None:
        try:
            value = read_up(line)
        except Malformed as error:
            self.show(Trouble(message=f"A line was not understood: {error}"))
            return
        match value:
            case Hello():
                self.show(Trouble(message="The greeting was said already."))
            case Part():
                await self._part(value)
            case Say():
                await self._say(room, value)
            case Act():
                key = f"{room.place}/{value.key}"
                await self._hand_over(
                    room,
                    value.key,
                    lambda _: ActionIn(
                        (key,), room.address, self._sender, value.action, value.values
                    ),
                )
            case Command():
                key = f"{room.place}/{value.key}"
                await self._hand_over(
                    room,
                    value.key,
                    lambda _: CommandIn(
                        (key,), room.address, self._sender, value.name.lower(), value.rest
                    ),
                )

    async def _part(self, part: Part) -> None:
        ref = self._uploads.ref(self._sender.identity.user, part.upload)
        try:
            data = base64.b64decode(part.data, validate=True)
            await asyncio.to_thread(self._uploads.write, ref, part.at, data)
        except (OSError, ValueError, FileRefused) as error:
            self.show(refused(part.key, error))
        else:
            self.show(Taken(key=part.key))

    async def _say(self, room: Room, said: Say) -> None:
        key = f"{room.place}/{said.key}"
        files = []
        for file in said.files:
            ref = self._uploads.ref(self._sender.identity.user, file.upload)
            if self._uploads.size(ref) != file.size:
                message = f"{file.name} did not arrive whole."
                self.show(Refused(key=said.key, message=message, remedy="Attach it again."))
                return
            kind, _ = mimetypes.guess_type(file.name)
            files.append(Attachment(ref, file.name, kind or "", file.size))
        try:
            await asyncio.to_thread(self._posts.note_said, room.place, said.key, said_text(said))
        except sqlite3.Error as error:
            self.show(refused(said.key, error))
            return
        stored = await self._hand_over(
            room,
            said.key,
            lambda order: MessageIn(
                (key,),
                room.address,
                self._sender,
                said.text,
                order,
                datetime.now(UTC),
                tuple(files),
            ),
        )
        if not stored:
            return
        try:
            shown = await asyncio.to_thread(self._posts.show_said, room.place, said.key)
        except sqlite3.Error as error:
            log.warning("message missing in the history", error=str(error))
            return
        if shown is not None:
            room.show(shown)

    async def _hand_over(self, room: Room, key: str, make: Callable[[int], Inbound]) -> bool:
        """Acknowledged to the terminal only when the bridge has stored it."""
        try:
            receipt: Receipt = await room.submit(self._host, make)
        except NotStored as error:
            self.show(Refused(key=key, message=str(error), remedy=error.remedy))
            return False
        reply = body_of(receipt.reply) if receipt.reply is not None else None
        self.show(Taken(key=key, reply=reply))
        return True

    async def _line(self) -> bytes | None:
        """The next line, or None at the end. One that is too long is skipped with a word."""
        while True:
            try:
                return await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return None
            except asyncio.LimitOverrunError as error:
                await self._skip_line(error.consumed)
                self.show(Trouble(message=f"A line had more than {LINE_LIMIT} bytes."))

    async def _skip_line(self, read: int) -> None:
        while True:
            await self._reader.readexactly(read)
            try:
                await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as error:
                read = error.consumed
            except asyncio.IncompleteReadError:
                return
            else:
                return

    async def _write(self) -> None:
        try:
            while True:
                while self._waiting:
                    _, value = self._waiting.popitem(last=False)
                    self._writer.write(down_line(value))
                    await self._writer.drain()
                self._more.clear()
                await self._more.wait()
        except ConnectionError:
            log.debug("terminal went away")


def refused(key: str, error: Exception) -> Refused:
    """The console's own memory failed: the message was not handed on."""
    return Refused(
        key=key,
        message=f"The bridge could not store it ({error}).",
        remedy="Make room on the disk of the deployment's home, then send it again.",
    )
