"""A terminal that says exactly the bytes it is told to."""

from __future__ import annotations

import asyncio
import json


class RawTerminal:
    """`await RawTerminal.at(path)`; then lines of bytes or values."""

    def __init__(self, reader, writer) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, path, **hello):
        terminal = cls(*await asyncio.open_unix_connection(str(path), limit=2**26))
        if hello:
            terminal.put({"type": "hello", "version": 2, **hello})
        return terminal

    def put(self, value) -> None:
        line = value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"
        self.writer.write(line)

    async def get(self, kind=""):
        """The next value, of a kind; None at the end."""
        async with asyncio.timeout(20):
            while line := await self.reader.readline():
                value = json.loads(line)
                if not kind or value["type"] == kind:
                    return value
        return None

    async def say(self, text, key):
        """The answer to a message."""
        self.put({"type": "say", "key": key, "text": text})
        while (value := await self.get()) is not None:
            if value["type"] in ("taken", "refused") and value["key"] == key:
                return value
        return None

    def close(self) -> None:
        self.writer.close()
