"""The console as the bridge sees it: `adapters.contract.Adapter` with a status line and marks."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Literal, TypeVar

import structlog

from adapters.console import files, listening, peer
from adapters.console.connection import Connection
from adapters.console.posts import Posts
from adapters.console.protocol import LINE_LIMIT, Body, Marked, Post, Status, body_of, own_key
from adapters.console.room import Rooms
from adapters.console.uploads import Uploads
from adapters.contract import (
    AdapterContext,
    Address,
    Attachment,
    Capabilities,
    Gone,
    Health,
    Host,
    Identity,
    MessageOut,
    NotAllowed,
    PostRef,
    SetupInvalid,
    TryLater,
)

log = structlog.get_logger()
T = TypeVar("T")

SOCKET = "console.sock"
TRY_AGAIN_SECONDS = 2.0


class ConsoleAdapter:
    """`uid_of` tells who a connection belongs to; by default the kernel does."""

    name = "console"
    caps = Capabilities(text_limit=16_000, edit_interval=0.05, file_limit=32 * 2**20)

    def __init__(self, context: AdapterContext, *, uid_of: peer.UidOf = peer.uid_of) -> None:
        """Raises `SetupInvalid` where its socket or its memory cannot be."""
        self._path = context.run_dir / SOCKET
        listening.check_path(self._path)
        self._owner_uid = context.owner_uid
        self._uid_of = uid_of
        try:
            self._posts = Posts(context.state_dir)
            self._uploads = Uploads(context.state_dir / "uploads")
        except (sqlite3.Error, OSError) as error:
            raise SetupInvalid(
                f"The console's memory in {context.state_dir} cannot be used ({error}).",
                remedy="Give the bridge's user that directory and room on its disk; a damaged "
                "console.db can be moved away: only the terminal's history is in it.",
            ) from None
        self._rooms = Rooms()
        self._tasks: set[asyncio.Task[None]] = set()
        self._inode: int | None = None
        self._trouble = ""

    async def run(self, host: Host) -> None:
        """Serve terminals until cancelled. See the port."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - it runs
            self._tasks.add(task)
            try:
                await self._serve(host, reader, writer)
            except asyncio.CancelledError:
                # The server's own callback would log a cancelled connection as a failure.
                writer.close()
            finally:
                self._tasks.discard(task)

        listener = await asyncio.to_thread(listening.listen, self._path)
        server = await asyncio.start_unix_server(serve, sock=listener, limit=LINE_LIMIT)
        self._inode = self._path.stat().st_ino
        try:
            await server.serve_forever()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._reachable():
                self._path.unlink(missing_ok=True)
            self._inode = None

    async def _serve(
        self, host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        who = peer.sender(self._uid_of(connection), self._owner_uid)
        await Connection(
            reader,
            writer,
            sender=who,
            host=host,
            posts=self._posts,
            rooms=self._rooms,
            uploads=self._uploads,
        ).serve()

    async def send(self, to: Address, message: MessageOut, key: str) -> PostRef:
        """See the port. A second call with a key also shows its newer content."""
        place = _place(to, message.only_for)

        def send() -> Post:
            return self._posts.send(place, key, self._body(place, key, message))

        post = await self._stored(send)
        self._show(place, post)
        return PostRef(post.ref)

    async def edit(self, to: Address, ref: PostRef, message: MessageOut) -> None:
        """See the port."""

        def edit() -> tuple[str, Post] | None:
            found = self._posts.find(ref.id)
            if found is None:
                return None
            post = self._posts.edit(ref.id, self._body(*found, message))
            return (found[0], post) if post else None

        changed = await self._stored(edit)
        if changed is None:
            raise Gone("This post is not kept any more.")
        self._show(*changed)

    def fetch(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """See the port. What a terminal handed over is kept for a week."""
        return self._uploads.read(attachment.ref)

    async def health(self) -> Health:
        if self._trouble:
            return Health("failed", self._trouble, "Make room on the disk of the home.")
        if self._inode is None:
            return Health("starting", f"{self._path} is not open yet.")
        if not self._reachable():
            return Health("failed", f"{self._path} was removed or replaced.", "Restart the bridge.")
        return Health("ok", f"{self._rooms.terminals} terminals are attached.")

    async def status(self, at: Address, text: str) -> None:
        """See `adapters.contract.Status`."""
        room = self._rooms.at(at.channel)
        if room.status != text:
            room.status = text
            room.show(Status(text=text))
        self._rooms.tidy(room)

    async def react(
        self, at: Address, message_key: str, mark: Literal["queued", "working", "done", "failed"]
    ) -> None:
        """See `adapters.contract.Reacts`. The last mark is kept for terminals that come later."""
        key = own_key(message_key)
        try:
            rev = await asyncio.to_thread(self._posts.mark, at.channel, key, mark)
        except sqlite3.Error as error:
            log.warning("mark not kept", error=str(error))
            return
        if rev is not None and (room := self._rooms.open(at.channel)):
            room.show(Marked(key=key, rev=rev, mark=mark))

    def _body(self, place: str, key: str, message: MessageOut) -> Body:
        kept = files.keep(self._posts.files_of(place, key), message.files)
        return body_of(message, kept)

    def _show(self, place: str, post: Post) -> None:
        if room := self._rooms.open(place):
            room.show(post)

    async def _stored(self, work: Callable[[], T]) -> T:
        try:
            made = await asyncio.to_thread(work)
        except (sqlite3.Error, OSError) as error:
            self._trouble = f"The console's memory cannot be written ({error})."
            raise TryLater(
                self._trouble,
                after=TRY_AGAIN_SECONDS,
                remedy="Make room on the disk of the deployment's home.",
            ) from error
        self._trouble = ""
        return made

    def _reachable(self) -> bool:
        try:
            return os.lstat(self._path).st_ino == self._inode
        except OSError:
            return False


def _place(to: Address, only_for: Identity | None) -> str:
    """Where a post belongs. What is for somebody else goes to that person's own conversation."""
    owner = to.channel.partition("/")[0]
    if only_for is None or (only_for.platform, only_for.user) == ("console", owner):
        return to.channel
    if only_for.platform != "console":
        raise NotAllowed("That person has no terminal here.")
    return f"{only_for.user}/main"
