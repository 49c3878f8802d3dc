"""The terminal without a terminal: lines in, answers out as plain text.

Exit codes: 0 all answered; 1 one failed, or the bridge stayed away; 2 a line was no text;
3 a turn waits for a decision, which needs a person.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import TextIO

from adapters.console.attach import Ready
from adapters.console.clean import clean, line, unescaped
from adapters.console.link import Away, Dismissed, Link, Lost, new_key
from adapters.console.protocol import (
    LINE_LIMIT,
    Command,
    Post,
    Refused,
    Say,
    Welcome,
    said_text,
    up_line,
)
from adapters.console.transcript import PLACEHOLDER, Transcript

MOST_LINES_AHEAD = 100
OK, FAILED, NO_TEXT, DECISION = 0, 1, 2, 3
COUNT_SECONDS = 1.0
"""How long to wait for the end of lines that are only to be counted."""
PATIENCE = 120.0
"""Seconds for which a bridge may be away."""


async def lines_of(descriptor: int) -> AsyncIterator[bytes]:
    """The lines of an open file. The thread that reads never keeps the process from ending."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    room = threading.Semaphore(MOST_LINES_AHEAD)

    def put(found: bytes | None) -> None:
        room.acquire()
        loop.call_soon_threadsafe(queue.put_nowait, found)

    def read() -> None:
        rest = bytearray()
        # The loop may end first: then nobody waits for the rest.
        with contextlib.suppress(RuntimeError):
            while chunk := _chunk(descriptor):
                *ends, last = chunk.split(b"\n")
                for end in ends:
                    put(bytes(rest + end))
                    rest.clear()
                rest += last
            if rest:
                put(bytes(rest))
            put(None)

    threading.Thread(target=read, daemon=True).start()
    while (found := await queue.get()) is not None:
        room.release()
        yield found


def _chunk(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 2**16)
    except OSError:
        return b""


class Piped:
    """Asks one message after another in one conversation. `hint` says where a decision can be
    answered; empty: by `bascule chat`. `run` and `ask` give the exit code, and raise `NotRunning`,
    or `BrokenPipeError` when nobody reads."""

    def __init__(
        self, path: Path, conversation: str, out: TextIO, err: TextIO, hint: str = ""
    ) -> None:
        self._link = Link(path, conversation, patience=PATIENCE)
        self._events = self._link.events()
        self._transcript = Transcript()
        self._out = out
        self._err = err
        self._where = hint
        self._printed: set[str] = set()
        self._told: dict[str, str] = {}
        self._code = OK
        self._asking = False
        self._task: asyncio.Task[int] | None = None

    async def run(self, lines: AsyncIterator[bytes]) -> int:
        """Each line is a message; empty ones are left out."""
        return await self._served(self._lines(lines))

    async def ask(self, raw: bytes, files: tuple[Ready, ...] = ()) -> int:
        """One message, whatever it is, with these files."""
        return await self._served(self._one(raw, files))

    async def _served(self, asking: Coroutine[None, None, None]) -> int:
        self._task = asyncio.current_task()
        try:
            await self._arrive()
            await asking
        except Lost:
            self._tell(f"The bridge stayed away for {PATIENCE:.0f} seconds; giving up.")
            return FAILED
        except Dismissed as error:
            self._tell(str(error))
            return FAILED
        finally:
            asking.close()
            await self._events.aclose()
        return self._code

    async def _lines(self, lines: AsyncIterator[bytes]) -> None:
        number = 0
        async for raw in lines:
            number += 1
            text = self._text(raw, f"Line {number}")
            if text is not None and text.strip() and not await self._ask(text):
                self._code = DECISION
                await self._count(lines)
                return

    async def _one(self, raw: bytes, files: tuple[Ready, ...]) -> None:
        text = self._text(raw, "The message")
        if text is not None and not await self._ask(text, files):
            self._code = DECISION

    async def _count(self, lines: AsyncIterator[bytes]) -> None:
        """Say how many lines are not sent. Whoever writes them may go on for ever."""
        count, all_of_them = 0, True
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                async for raw in lines:
                    count += bool(raw.strip())
        except TimeoutError:
            all_of_them = False
        if count:
            what = "line that follows was" if count == 1 else "lines that follow were"
            self._tell(f"{'The' if all_of_them else 'At least'} {count} {what} not sent.")

    async def _arrive(self) -> None:
        async for event in self._events:
            self._transcript.apply(event)
            if isinstance(event, Welcome):
                return

    def _text(self, raw: bytes, what: str) -> str | None:
        try:
            text = raw.decode("utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            self._tell(f"{what} is not valid UTF-8 (byte {error.start + 1}); it was not sent.")
            self._fail(NO_TEXT)
            return None
        if len(up_line(Say(key=new_key(), text=text))) > LINE_LIMIT:
            self._tell(f"{what} is too long to be handed over; it was not sent.")
            self._fail(FAILED)
            return None
        return text

    async def _ask(self, text: str, files: tuple[Ready, ...] = ()) -> bool:
        """Sends it and waits until it is answered; False when it waits for a decision."""
        key = new_key()
        said = Say(key=key, text=text, files=tuple(file.given for file in files))
        self._transcript.say(key, said_text(said))
        for file in files:
            for part in file.parts:
                self._link.send(part)
        self._link.send(said)
        self._asking = True
        try:
            return await self._answered(key)
        finally:
            self._asking = False

    def interrupt(self) -> None:
        """Stop what was asked for, and let `run` be cancelled."""
        if self._asking:
            self._link.send(Command(key=new_key(), name="stop"))
        if self._task is not None:
            self._task.cancel()

    async def _answered(self, key: str) -> bool:
        async for event in self._events:
            if isinstance(event, Away):
                self._tell("The bridge is away; trying again.")
            if isinstance(event, Refused) and event.key == key:
                self._tell(f"Not stored: {event.message} {event.remedy}".strip())
                self._fail(FAILED)
                return True
            self._transcript.apply(event)
            if isinstance(event, Post) and event.body.answers == key:
                self._steps(event)
            mark = self._transcript.mark(key)
            if mark in ("done", "failed"):
                self._answer(key)
                if mark == "failed":
                    self._fail(FAILED)
                return True
            offer = self._transcript.offer
            if offer is not None and offer.decision:
                self._answer(key)
                self._print(offer.post)  # it may be an older one that this message waits behind
                self._hint()
                return False
        return True

    def _answer(self, key: str) -> None:
        """What was said to this message; others may be answered in this conversation, too."""
        for ref, body in list(self._transcript.posts()):
            if body.answers == key and not (body.tone == "decision" and body.choices):
                self._print(ref)

    def _print(self, ref: str) -> None:
        """A post, once: an answer to the output, everything else to the person's eye."""
        body = self._transcript.post(ref)
        if body is None or ref in self._printed:
            return
        self._printed.add(ref)
        text = clean(body.markdown).strip()
        if not text or text == PLACEHOLDER:
            return
        if body.tone == "answer":
            print(text, file=self._out, flush=True)
        else:
            self._tell(unescaped(text))
        for file in body.files:
            self._tell(f"File {line(file.name)}: {file.path}")

    def _steps(self, post: Post) -> None:
        for step in post.body.steps:
            if step.state in ("done", "failed") and self._told.get(step.id) != step.state:
                self._told[step.id] = step.state
                mark = "✓" if step.state == "done" else "✗"
                detail = f": {step.detail}" if step.state == "failed" and step.detail else ""
                self._tell(f"{mark} {line(step.title + detail)}")

    def _hint(self) -> None:
        name = self._link.conversation
        where = self._where or f"Answer it with: bascule chat --conversation {name}"
        self._tell(f"This waits for your decision. {where}")

    def _fail(self, code: int) -> None:
        self._code = max(self._code, code)

    def _tell(self, text: str) -> None:
        print(clean(text), file=self._err, flush=True)
