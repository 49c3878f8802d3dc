"""Chat platforms for tests: one in memory, one in a file that outlives the process."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from adapters.contract import (
    Adapter,
    Address,
    Capabilities,
    FileRefused,
    Gone,
    Health,
    MessageOut,
    Plugin,
    PostRef,
)


class MemoryPlatform:
    name = "memory"

    def __init__(self) -> None:
        self.caps = Capabilities(text_limit=4000, edit_interval=0.01, file_limit=10**6)
        self.by_key: dict[str, str] = {}
        self.posts: dict[str, list[MessageOut]] = {}
        self.places: dict[str, Address] = {}
        self.times: dict[str, list[float]] = {}
        self.sends: list[str] = []
        self.status_log: list[tuple[Address, str]] = []
        self.marks: dict[str, str] = {}
        self.trouble: list[Exception] = []
        self.changed = asyncio.Event()
        self.host = None
        self.files: dict[str, list[bytes | Exception]] = {}
        """What a fetch of each ref gives, chunk by chunk; an error is raised, once."""
        self.fetches: list[str] = []
        self.frozen = asyncio.Event()
        self.frozen.set()

    async def run(self, host) -> None:
        self.host = host
        await asyncio.Event().wait()

    async def send(self, to, message, key):
        await self.frozen.wait()
        self.sends.append(key)
        if self.trouble:
            raise self.trouble.pop(0)
        if key not in self.by_key:
            ref = f"p{len(self.by_key)}"
            self.by_key[key] = ref
            self.posts[ref], self.places[ref], self.times[ref] = [message], to, [time.monotonic()]
        self.changed.set()
        return PostRef(self.by_key[key])

    async def edit(self, to, ref, message):
        await self.frozen.wait()
        if self.trouble:
            raise self.trouble.pop(0)
        if ref.id not in self.posts:
            raise Gone("It was deleted.")
        self.posts[ref.id].append(message)
        self.times[ref.id].append(time.monotonic())
        self.changed.set()

    async def fetch(self, attachment):
        self.fetches.append(attachment.ref)
        if attachment.ref not in self.files:
            raise FileRefused("It is gone.", remedy="Send it again.")
        for chunk in list(chunks := self.files[attachment.ref]):
            if isinstance(chunk, Exception):
                chunks.remove(chunk)
                raise chunk
            yield chunk

    async def health(self):
        return Health("ok")

    async def status(self, at, text):
        self.status_log.append((at, text))

    async def react(self, at, message_key, mark):
        self.marks[message_key] = mark

    def shown(self, at: Address | None = None) -> list[MessageOut]:
        """What a person sees now, in order."""
        return [p[-1] for ref, p in self.posts.items() if at is None or self.places[ref] == at]

    def texts(self, at: Address | None = None) -> list[str]:
        return [m.markdown for m in self.shown(at)]


class FilePlatform(MemoryPlatform):
    """Posts in a file that several processes write, one operation a line; a key is known for
    ever, and gives its post: who reads takes the first of several sends with one key."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    async def send(self, to, message, key):
        self._write("send", key, key, to, message)
        return PostRef(key)

    async def edit(self, to, ref, message):
        self._write("edit", "", ref.id, to, message)

    def _write(self, op, key, ref, to, message):
        line = {
            "op": op,
            "key": key,
            "ref": ref,
            "channel": to.channel,
            "text": message.markdown,
            "final": message.final,
            "choices": [choice.action for choice in message.choices],
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def plugin(adapter: Adapter) -> Plugin:
    return Plugin(name=adapter.name, create=lambda _context: adapter)
