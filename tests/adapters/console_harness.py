"""The console adapter for the conformance suite: the real adapter, socket and terminal."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import socket
import sqlite3
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.console import render
from adapters.console.adapter import ConsoleAdapter
from adapters.console.attach import ready
from adapters.console.form import Form
from adapters.console.link import Link
from adapters.console.protocol import (
    VERSION,
    Act,
    Command,
    Hello,
    Post,
    Refused,
    Say,
    Taken,
    Welcome,
    read_down,
    up_line,
)
from adapters.console.room import address_of
from adapters.console.transcript import Transcript, Words
from adapters.contract import AdapterContext, Identity
from adapters.testing import Seen

UIDS = {"ann": 1000, "ben": 1001}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def uid_of(connection) -> int:
    """Ben's connections have a name of their own; the kernel would say who he is."""
    return UIDS["ben" if b"ben" in (connection.getpeername() or b"") else "ann"]


def shown(body) -> Seen:
    """A post as the terminal prints it, without colours."""
    rows = [render.item(Words(body.markdown, body.tone))]
    rows += [render.step_line(step) for step in body.steps]
    text = _COLOUR.sub("", render.ansi(rows, 100))
    labels = tuple(choice.label for choice in body.choices)
    return Seen(text.rstrip(), labels, tuple(file.name for file in body.files))


class ConsoleHarness:
    """Implements `adapters.testing.Harness`. Ann sits at a terminal all the time."""

    place = address_of("1000", "main")

    def __init__(self, make=ConsoleAdapter) -> None:
        self.make = make
        self.root = Path(tempfile.mkdtemp(prefix="bsc-"))
        (self.root / "run").mkdir(mode=0o700)
        (self.root / "state").mkdir(mode=0o700)
        self.said: dict[str, str] = {}
        self.answers: dict[str, asyncio.Future[bool]] = {}
        self.lock: sqlite3.Connection | None = None
        self.running: asyncio.Task[None] | None = None

    @property
    def path(self) -> Path:
        return self.root / "run" / "console.sock"

    def identity(self, who):
        return Identity("console", "local", str(UIDS[who]))

    async def start(self, host):
        context = AdapterContext({}, self.root / "state", self.root / "run", owner_uid=1000)
        adapter = self.make(context, uid_of=uid_of)
        self.running = asyncio.create_task(adapter.run(host))
        while (await adapter.health()).state == "starting":
            if self.running.done():
                await self.running
            await asyncio.sleep(0.005)
        self.transcript = Transcript()
        self.link = Link(self.path, "main")
        self.events = self.link.events()
        self.transcript.apply(await anext(self.events))
        self.news = asyncio.Event()
        self.listening = asyncio.create_task(self._listen())
        return adapter

    async def _listen(self):
        async for event in self.events:
            self.transcript.apply(event)
            if isinstance(event, Taken | Refused):
                self.answers[event.key].set_result(isinstance(event, Taken))
            self.news.set()

    async def stop(self):
        if self.running is None:
            return
        running, self.running = self.running, None
        self.listening.cancel()
        await asyncio.gather(self.listening, return_exceptions=True)
        await self.events.aclose()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for answer in self.answers.values():
            if not answer.done():
                answer.set_result(False)
        self.answers.clear()
        if not running.cancelled() and (error := running.exception()):
            raise error

    def left_running(self):
        tasks = [repr(task) for task in asyncio.all_tasks()]
        left = [task for task in tasks if "adapters/console/" in task]
        return [*left, *(str(p) for p in (self.root / "run").iterdir())]

    async def _send(self, value) -> bool:
        answer = self.answers[value.key] = asyncio.get_running_loop().create_future()
        self.link.send(value)
        return await answer

    async def say(self, text, *, key, again=False):
        self.said.setdefault(key, text)
        return await self._send(Say(key=f"key-{key}", text=self.said[key]))

    async def attach(self, text, name, data, *, key):
        path = self.root / name
        path.write_bytes(data)
        file = ready(str(path))
        for part in file.parts:
            answer = self.answers[part.key] = asyncio.get_running_loop().create_future()
            self.link.send(part)
            assert await answer
        return await self._send(Say(key=f"key-{key}", text=text, files=(file.given,)))

    async def command(self, name, rest, *, key):
        return await self._send(Command(key=f"key-{key}", name=name, rest=rest))

    async def press(self, post, label, values, *, key):
        await self.read("ann")
        body = next(b for _, b in self.transcript.posts() if post in b.markdown)
        choice = next(choice for choice in body.choices if choice.label == label)
        form = Form(choice)
        while (field := form.field) is not None:
            given = values.get(field.name, [])
            numbers = {value: str(n) for n, (value, _) in enumerate(field.options, 1)}
            assert form.give(" ".join(numbers.get(value, value) for value in given)) == ""
        return await self._send(Act(key=f"key-{key}", action=choice.action, values=form.values()))

    async def read(self, who):
        """What Ann's terminal shows, once it shows what a fresh one would be shown."""
        fresh = [entry for entry in await self._history(who) if isinstance(entry, Post)]
        if who == "ben":
            return [shown(entry.body) for entry in fresh]
        want = {entry.ref: entry.body for entry in fresh}
        async with asyncio.timeout(10):
            while dict(self.transcript.posts()) != want:
                self.news.clear()
                await self.news.wait()
        return [shown(body) for _, body in self.transcript.posts()]

    async def _history(self, who):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.bind(f"\0bsc-{who}-{secrets.token_hex(8)}")
        connection.connect(str(self.path))
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=2**26)
        writer.write(up_line(Hello(version=VERSION)))
        welcome = read_down(await reader.readuntil(b"\n"))
        writer.close()
        assert isinstance(welcome, Welcome)
        return welcome.entries

    async def fail(self):
        """Somebody else holds the lock on the adapter's memory for too long."""
        self.lock = sqlite3.connect(self.root / "state" / "console.db", isolation_level=None)
        self.lock.execute("BEGIN IMMEDIATE")

    async def mend(self):
        if self.lock is not None:
            self.lock.close()
            self.lock = None

    async def close(self):
        await self.mend()
        await self.stop()
        shutil.rmtree(self.root, ignore_errors=True)


@asynccontextmanager
async def console(make=ConsoleAdapter):
    """One harness, cleaned up. `make` may make an adapter that is broken on purpose."""
    harness = ConsoleHarness(make)
    try:
        yield harness
    finally:
        await harness.close()
