"""The Discord adapter for the conformance suite: the real discord.py, over real sockets, against
the double.

Discord acknowledges no message: it is told of once. What the harness calls an acknowledgement is
that the bridge took the message; until then the adapter keeps it, and what is lost with the process
is read back.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.contract import AdapterContext, NotStored
from adapters.discord import places
from adapters.discord.adapter import DiscordAdapter
from adapters.testing import Seen
from tests.adapters.discord_double.double import Double

SECONDS = 20.0


class Watched:
    """A host whose answers the harness hears."""

    def __init__(self, host) -> None:
        self._host = host
        self.heard: list[tuple[str, bool]] = []
        """(key, taken) of each call that ended, in order."""

    def __getattr__(self, name):
        return getattr(self._host, name)

    async def submit(self, inbound):
        key = getattr(inbound, "keys", ("",))[0]
        try:
            receipt = await self._host.submit(inbound)
        except (NotStored, asyncio.CancelledError):
            self.heard.append((key, False))
            raise
        self.heard.append((key, True))
        return receipt


class DiscordHarness:
    """Implements `adapters.testing.Harness`. Ann writes in a thread, or directly to the bot."""

    def __init__(self, double: Double, *, direct: bool) -> None:
        self.double = double
        self.world = double.world
        self.root = Path(tempfile.mkdtemp(prefix="bsc-"))
        if direct:
            self.channel = self.world.direct(self.world.ann["id"])
            self.place = places.direct(int(self.channel))
        else:
            parent = self.world.general
            self.channel = self.world.thread("talk", parent, owner=self.world.ann["id"])["id"]
            guild = int(self.world.guild_id)
            self.place = places.in_thread(guild, int(parent), int(self.channel))
        self.mention = "" if direct else f"<@{self.world.bot['id']}> "
        self.said: dict[str, dict] = {}
        self.running: asyncio.Task[None] | None = None

    def identity(self, who):
        return places.identity(getattr(self.world, who)["id"])

    async def start(self, host):
        self.host = Watched(host)
        context = AdapterContext(self.double.settings, self.root, self.root, owner_uid=1000)
        adapter = DiscordAdapter(context, pause=0.05, quiet=0.2)
        self.running = asyncio.create_task(adapter.run(self.host))
        async with asyncio.timeout(SECONDS):
            while (await adapter.health()).state != "ok":
                if self.running.done():
                    await self.running
                await asyncio.sleep(0.01)
        return adapter

    async def stop(self):
        if self.running is None:
            return
        running, self.running = self.running, None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if not running.cancelled() and (error := running.exception()):
            raise error
        async with asyncio.timeout(SECONDS):
            while any(t.name.startswith("keep-alive") for t in threading.enumerate()):
                await asyncio.sleep(0.01)

    def left_running(self):
        tasks = [repr(task) for task in asyncio.all_tasks()]
        left = [
            task
            for task in tasks
            if "adapters/discord/" in task or "site-packages/discord/" in task
        ]
        threads = [t.name for t in threading.enumerate() if t.name.startswith("keep-alive")]
        return [*left, *threads, *(str(s.id) for s in self.double.gateway.live)]

    async def _taken(self, key: str, before: int) -> bool:
        running = self.running
        async with asyncio.timeout(SECONDS):
            while True:
                for heard, taken in self.host.heard[before:]:
                    if heard == key:
                        return taken
                if running is None or running.done():
                    return False
                await asyncio.sleep(0.005)

    async def say(self, text, *, key, again=False):
        before = len(self.host.heard)
        if again:
            await self.double.again(self.said[key])
        else:
            self.said[key] = await self.double.say(self.channel, self.mention + text)
        return await self._taken(self.said[key]["id"], before)

    async def attach(self, text, name, data, *, key):
        before = len(self.host.heard)
        made = await self.double.attach(self.channel, self.mention + text, name, data)
        return await self._taken(made["id"], before)

    async def press(self, post, label, values, *, key):
        await self.read("ann")
        message = next(m for m in self.world.messages[self.channel] if post in m["content"])
        asked = await self.double.press(message, label)
        if asked is not None and asked.answered.result()["type"] == 9:
            shown = {}
            for part in asked.answered.result()["data"]["components"]:
                inner = part["component"]
                name = inner["custom_id"].partition(":")[2]
                labels = {o["value"].removeprefix("="): o["label"]
                          for o in inner.get("options", [])}  # fmt: skip
                shown[part["label"]] = [labels.get(v, v) for v in values.get(name, [])]
            asked = await self.double.fill(asked, message, shown)
        # What only says that it did not work is no acknowledgement.
        return asked is not None and asked.answered.result()["type"] in (5, 6)

    async def command(self, name, rest, *, key):
        asked = await self.double.command(self.channel, name.lower(), {"words": rest})
        return asked is not None

    async def read(self, who):
        user = getattr(self.world, who)
        mine = self.world.direct(user["id"])
        seen = []
        for channel, messages in self.world.messages.items():
            at = self.world.channels[channel]
            if at["type"] == 1 and channel != mine:
                continue
            seen += [m for m in messages if m["author"]["id"] == self.world.bot["id"]]
        return [self._seen(m) for m in sorted(seen, key=lambda m: int(m["id"]))]

    def _seen(self, message):
        labels = [p["label"] for row in message["components"] for p in row["components"]]
        files = [a["filename"] for a in message["attachments"]]
        return Seen(message["content"], tuple(labels), tuple(files))

    async def fail(self):
        self.double.rest.down = 503

    async def mend(self):
        self.double.rest.down = 0

    async def close(self):
        await self.mend()
        await self.stop()
        shutil.rmtree(self.root, ignore_errors=True)


@asynccontextmanager
async def discord_adapter(*, direct=False):
    """One harness, cleaned up."""
    async with Double() as double:
        harness = DiscordHarness(double, direct=direct)
        try:
            yield harness
        finally:
            await harness.close()
