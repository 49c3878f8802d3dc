"""The terminal's end of the connection: it comes back by itself, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from adapters.console.protocol import (
    VERSION,
    Act,
    Command,
    Down,
    Hello,
    Malformed,
    Marked,
    Part,
    Post,
    Refused,
    Said,
    Say,
    Taken,
    Trouble,
    Welcome,
    read_down,
    up_line,
)

OVERTAKEN = 100
"""Changes before the last one seen that are asked for again: one may have overtaken another."""
LONGEST_LINE = 64 * 2**20
LONGEST_PAUSE = 2.0
WELCOME_SECONDS = 20.0


class NotRunning(Exception):
    """Nothing listens at the socket."""


class Dismissed(Exception):
    """The bridge will not serve this terminal; `str(error)` says why and what to do."""


class Lost(Exception):
    """The bridge did not come back in time."""


@dataclass(frozen=True, slots=True)
class Away:
    """The connection broke; the link tries again by itself until `Welcome` comes."""


Event: TypeAlias = Down | Away


def new_key() -> str:
    """A key for one message, action or command, whoever else makes keys."""
    return secrets.token_hex(12)


class Link:
    """What was sent and not yet taken or refused is kept, and sent again after a broken
    connection under its key. `patience` is in seconds; without it, the link tries for ever."""

    def __init__(self, path: Path, conversation: str, *, patience: float | None = None) -> None:
        self.conversation = conversation
        self._path = path
        self._patience = patience
        self._seen = 0
        self._known = False
        self._open: dict[str, bytes] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._welcomed = False

    def send(self, value: Part | Say | Act | Command) -> None:
        """Returns at once; a `Taken` or a `Refused` with its key follows."""
        line = up_line(value)
        self._open[value.key] = line
        if self._writer is not None and self._welcomed:
            self._writer.write(line)

    async def events(self) -> AsyncGenerator[Event, None]:
        """What happens, for ever. Raises `NotRunning` where there was no connection yet, `Lost`
        and `Dismissed`. Closing the iterator closes the connection."""
        clock = asyncio.get_running_loop().time
        since, pause = clock(), 0.05
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(
                    self._path, limit=LONGEST_LINE
                )
            except OSError as error:
                if not self._known:
                    raise NotRunning(str(error)) from None
                if self._patience is not None and clock() - since > self._patience:
                    raise Lost from None
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            try:
                async with aclosing(self._connected(reader, self._writer)) as connected:
                    async for event in connected:
                        if isinstance(event, Welcome):
                            pause = 0.05
                        yield event
            finally:
                self._welcomed = False
                self._writer.close()
            if not self._known:
                raise NotRunning("It closed the connection.")
            yield Away()
            since = clock()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> AsyncGenerator[Down, None]:
        hello = Hello(
            version=VERSION,
            conversation=self.conversation,
            since=max(self._seen - OVERTAKEN, 0) if self._known else None,
        )
        writer.write(up_line(hello))
        try:
            while True:
                async with asyncio.timeout(None if self._welcomed else WELCOME_SECONDS):
                    line = await reader.readuntil(b"\n")
                value = read_down(line)
                self._note(value)
                if isinstance(value, Welcome):
                    for open_line in self._open.values():
                        writer.write(open_line)
                yield value
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return
        except (Malformed, asyncio.LimitOverrunError) as error:
            raise Dismissed(f"The bridge sent what this terminal cannot read ({error}).") from None

    def _note(self, value: Down) -> None:
        match value:
            case Welcome(entries=entries):
                self._known = self._welcomed = True
                for entry in entries:
                    self._seen = max(self._seen, entry.rev)
            case Post(rev=rev) | Said(rev=rev) | Marked(rev=rev):
                self._seen = max(self._seen, rev)
            case Taken(key=key) | Refused(key=key):
                self._open.pop(key, None)
            case Trouble(message=message, fatal=True):
                raise Dismissed(message)
            case _:
                pass
