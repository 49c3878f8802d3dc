"""The Slack adapter for the conformance suite: the real adapter, slack-bolt and websockets."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.contract import AdapterContext, Address, Identity
from adapters.slack.adapter import SlackAdapter
from tests.adapters.slack_double import SlackDouble
from tests.adapters.slack_payloads import ANN, BEN, CHANNEL, DM, TEAM
from tests.adapters.slack_people import Person

USERS = {"ann": ANN, "ben": BEN}


class SlackHarness:
    """Implements `adapters.testing.Harness`, in a channel's thread or in a direct message's."""

    def __init__(self, make=SlackAdapter, *, channel: str = CHANNEL, **settings: str) -> None:
        self.make = make
        self.channel = channel
        self.settings = settings
        self.root = Path(tempfile.mkdtemp(prefix="bsl-"))
        self.slack = SlackDouble()
        self.ann = Person(self.slack)
        self.said: dict[str, dict] = {}
        self.running: asyncio.Task[None] | None = None
        # Long before the adapter begins: nothing that it could have missed.
        long_ago = {"user": ANN, "text": "the beginning", "ts": "1700000000.000001"}
        root = self.slack.space.add(channel, long_ago)
        self.place = Address("slack", TEAM, channel, root["ts"], direct=channel == DM)

    def identity(self, who):
        return Identity("slack", TEAM, USERS[who])

    async def start(self, host):
        if not self.slack.url:
            await self.slack.start()
        for name in ("state", "run"):
            (self.root / name).mkdir(mode=0o700, exist_ok=True)
        settings = self.slack.settings(**self.settings)
        context = AdapterContext(settings, self.root / "state", self.root / "run", 1000)
        adapter = self.make(context, ping=0.5)
        self.running = asyncio.create_task(adapter.run(host))
        async with asyncio.timeout(20):
            while (await adapter.health()).state != "ok" or len(self.slack.sockets) < 2:
                if self.running.done():
                    ended, self.running = self.running, None
                    await ended
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

    def left_running(self):
        tasks = [repr(task) for task in asyncio.all_tasks()]
        left = [task for task in tasks if "adapters/slack/" in task or "slack_sdk" in task]
        return [*left, *(repr(socket) for socket in self.slack.sockets if not socket.closed)]

    async def say(self, text, *, key, again=False):
        if again:
            return await self.ann.deliver(self.said[key], self.channel)
        got = await self.ann.write(text, self.channel, self.place.thread,
                                   mention=self.channel != DM)  # fmt: skip
        self.said[key] = self.ann.last
        return got

    async def attach(self, text, name, data, *, key):
        file = self.slack.methods.file(name, data, user=ANN)
        return await self.ann.write(text, self.channel, self.place.thread, files=[file],
                                    mention=self.channel != DM)  # fmt: skip

    async def command(self, name, rest, *, key):
        return await self.say(f"!{name} {rest}", key=key)

    async def press(self, post, label, values, *, key):
        opened = len(self.slack.space.views)
        message = self.ann.post(post)
        got = await self.ann.press_in(message, label)
        if not got or not values:
            return got
        await self.slack.space.until(lambda: len(self.slack.space.views) > opened)
        answer = await self.ann.fill(values)
        return answer is not None and "errors" not in answer

    async def read(self, who):
        return self.slack.space.seen(USERS[who])

    async def fail(self):
        self.slack.failing = True

    async def mend(self):
        self.slack.failing = False

    async def close(self):
        await self.stop()
        await self.slack.stop()
        shutil.rmtree(self.root, ignore_errors=True)


@asynccontextmanager
async def slack(make=SlackAdapter, **settings):
    """One harness, cleaned up."""
    harness = SlackHarness(make, **settings)
    try:
        yield harness
    finally:
        await harness.close()
