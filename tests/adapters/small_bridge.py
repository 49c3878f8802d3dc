"""A bridge small enough to read: it answers by what a message says, through the real adapter."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from adapters.console.adapter import ConsoleAdapter
from adapters.contract import (
    ActionIn,
    AdapterContext,
    Choice,
    CommandIn,
    Field,
    FileOut,
    Lifecycle,
    MessageIn,
    MessageOut,
    NotStored,
    Receipt,
    Step,
)


class SmallBridge:
    """Implements `adapters.contract.Host`. `await start()`, then terminals may come."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="bsc-"))
        for name in ("run", "state"):
            (self.root / name).mkdir(mode=0o700)
        self.received: list[object] = []
        self.stops = 0
        self.full = False
        self.owner_uid = 0
        self.tasks: set[asyncio.Task] = set()
        self.numbers = itertools.count(1)
        self.seen: set[str] = set()
        self.decisions: dict[str, asyncio.Future] = {}
        self.turn: asyncio.Task | None = None
        self.order = asyncio.Lock()
        self.go = asyncio.Event()
        """Lets what `grow` began go on."""
        self.running: asyncio.Task | None = None

    @property
    def path(self) -> Path:
        return self.root / "run" / "console.sock"

    @property
    def texts(self) -> list[str]:
        return [said.text for said in self.received if isinstance(said, MessageIn)]

    async def start(self) -> None:
        context = AdapterContext({}, self.root / "state", self.root / "run", self.owner_uid)
        self.adapter = ConsoleAdapter(context)
        self.running = asyncio.create_task(self.adapter.run(self))
        while (await self.adapter.health()).state == "starting":
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        for task in (self.running, *self.tasks):
            task.cancel()
        await asyncio.gather(self.running, *self.tasks, return_exceptions=True)

    async def close(self) -> None:
        await self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    async def submit(self, inbound) -> Receipt:
        if isinstance(inbound, Lifecycle):
            return Receipt("ignored")
        if self.full:
            raise NotStored("The disk is full.", remedy="Make room.")
        if inbound.keys[0] in self.seen:
            return Receipt("duplicate")
        self.seen.add(inbound.keys[0])
        self.received.append(inbound)
        if isinstance(inbound, MessageIn):
            await self.adapter.react(inbound.address, inbound.keys[0], "queued")
            self._begin(self._turn(inbound))
        elif isinstance(inbound, ActionIn):
            waiting = self.decisions.pop(inbound.action.rpartition(":")[0], None)
            if waiting is not None:
                waiting.set_result(inbound)
        elif isinstance(inbound, CommandIn):
            return Receipt("stored", MessageOut(self._command(inbound), tone="notice"))
        return Receipt("stored")

    async def conversations(self, who):
        return ()

    async def person(self, who):
        return None

    async def known(self, at):
        return any(one.address == at for one in self.received)

    async def places(self, platform, since):
        return ()

    async def suggest(self, who, at, name, typed):
        return ()

    async def form(self, action):
        return ()

    def command_views(self, admin=False):
        return ()

    def _command(self, command: CommandIn) -> str:
        if command.name == "stop":
            self.stops += 1
            if self.turn is not None:
                self.turn.cancel()
            return "Stopping the turn."
        return f"There is no command `{command.name}`."

    def _begin(self, work) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _turn(self, said: MessageIn) -> None:
        async with self.order:
            at, key = said.address, said.keys[0]
            await self.adapter.react(at, key, "working")
            await self.adapter.status(at, "Thinking…")
            self.turn = asyncio.create_task(self._answer(said))
            (end,) = await asyncio.gather(self.turn, return_exceptions=True)
            if isinstance(end, asyncio.CancelledError):
                await self._post(said, MessageOut("Stopped.", tone="notice"))
            await self.adapter.status(at, "")
            await self.adapter.react(at, key, "done" if end == "done" else "failed")

    async def _answer(self, said: MessageIn) -> str:
        word, _, rest = said.text.partition(" ")
        if word == "say":
            await self._post(said, MessageOut(rest))
        elif word == "slow":
            await self._slowly(said, rest)
        elif word == "grow":
            ref = await self._post(said, MessageOut(rest.partition("|")[0].strip(), final=False))
            await self.go.wait()
            grown = MessageOut(rest.replace("| ", ""), answers=said.keys[0])
            await self.adapter.edit(said.address, ref, grown)
        elif word == "steps":
            await self._steps(said)
        elif word == "ask":
            await self._ask(said)
        elif word == "read":
            for file in said.attachments:
                data = b"".join([part async for part in self.adapter.fetch(file)])
                await self._post(said, MessageOut(f"{file.name} has {len(data)} bytes"))
        elif word == "file":
            file = FileOut("report.txt", "text/plain", b"the report")
            await self._post(said, MessageOut("Here it is.", files=(file,)))
        else:
            again = Choice("retry:1", "Retry", "primary")
            await self._post(said, MessageOut(f"Cannot {word}.", (again,), tone="error"))
            return "failed"
        return "done"

    async def _post(self, said, message):
        post = replace(message, answers=said.keys[0])
        return await self.adapter.send(said.address, post, f"post-{next(self.numbers)}")

    async def _slowly(self, said, text) -> None:
        words = text.split()
        ref = await self._post(said, MessageOut("…", final=False))
        for count in range(1, len(words) + 1):
            text, final = " ".join(words[:count]), count == len(words)
            grown = MessageOut(text, answers=said.keys[0], final=final)
            await self.adapter.edit(said.address, ref, grown)
            await asyncio.sleep(0.3)

    async def _steps(self, said) -> None:
        steps = (Step("s1", "Read notes.txt", "running"),)
        post = MessageOut("I look first.", steps=steps, final=False)
        ref = await self._post(said, post)
        await asyncio.sleep(0.5)
        steps = (
            Step("s1", "Read notes.txt", "done"),
            Step("s2", "Run make", "failed", "exit status 2"),
        )
        text = "I look first.\n\nThat did not work."
        done = MessageOut(text, steps=steps, answers=said.keys[0])
        await self.adapter.edit(said.address, ref, done)

    async def _ask(self, said) -> None:
        name = f"d:{next(self.numbers)}"
        choices = (
            Choice(f"{name}:allow", "Allow once", "primary"),
            Choice(f"{name}:deny", "Deny", "danger"),
            Choice(f"{name}:deny", "Deny and say why", form=(Field("reason", "What instead?"),)),
        )
        text = "**May I run this?** Really\\-really\\.\n\n```bash\nmake \\.\n```"
        card = MessageOut(text, choices, tone="decision")
        ref = await self._post(said, card)
        waiting = self.decisions[name] = asyncio.get_running_loop().create_future()
        action: ActionIn = await waiting
        said_why = "".join(text for _, texts in action.values for text in texts)
        verb = action.action.rpartition(":")[2]
        text = f"{card.markdown}\n\n**Over: {verb}**"
        over = replace(card, markdown=text, choices=(), answers=said.keys[0])
        await self.adapter.edit(said.address, ref, over)
        await self._post(said, MessageOut(f"You said {verb} {said_why}".strip()))
