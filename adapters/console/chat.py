"""The interactive chat: what comes from the bridge, and what the person's keys do."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from pathlib import Path
from typing import TextIO

from rich.console import RenderableType
from rich.text import Text

from adapters.console import attach, render
from adapters.console.clean import line
from adapters.console.form import Form
from adapters.console.link import Away, Dismissed, Event, Link, new_key
from adapters.console.protocol import (
    LINE_LIMIT,
    Act,
    Command,
    Refused,
    Say,
    Taken,
    Welcome,
    said_text,
    up_line,
)
from adapters.console.screen import KEYS, Screen, history_at
from adapters.console.transcript import Note, Offer, Transcript

GRACE_SECONDS = 0.3
"""New choices cannot be taken for so long: a key that was on its way is not an answer."""
HELP = (
    "Enter sends, Alt-Enter or Esc Enter starts a new line, up-arrow brings back what you wrote.\n"
    "/attach PATH adds a file of this machine to your next message; /detach takes them away.\n"
    "Ctrl-C stops the running turn, Ctrl-D leaves (the turn goes on). /quit leaves, too."
)
AWAY = "The bridge is away; trying again."
_COMMAND = re.compile(r"[/!]([a-z]+)(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)
"""Anything else is a message, such as one that begins with a path."""


class Chat:
    """Implements `adapters.console.screen.Watched`."""

    def __init__(
        self,
        socket: Path,
        conversation: str,
        history: Path,
        out: TextIO,
        files: tuple[attach.Ready, ...] = (),
    ) -> None:
        """`files` go with the first message."""
        self._files = list(files)
        """What goes with the next message."""
        self._link = Link(socket, conversation)
        self._transcript = Transcript()
        self._screen = Screen(self, history_at(history), out)
        self._form: tuple[Form, Offer] | None = None
        self._offered: Offer | None = None
        self._offered_at = 0.0
        self._since = 0.0
        self._sent: dict[str, Say | tuple[Offer, str]] = {}
        """What the bridge has neither taken nor refused."""
        self._ended: Exception | None = None

    async def run(self) -> None:
        """Until the person leaves. Raises `NotRunning` before anything is shown, `Dismissed`."""
        events = self._link.events()
        try:
            for file in self._files:
                for part in file.parts:
                    self._link.send(part)
            welcome = await anext(events)
            self._transcript.name = welcome.name if isinstance(welcome, Welcome) else ""
            self._greet()
            self._take(welcome)

            async def listen() -> None:
                try:
                    async for event in events:
                        self._take(event)
                except Dismissed as error:
                    self._ended = error
                    self._screen.exit()

            listening = asyncio.create_task(listen())
            loop = asyncio.get_running_loop()
            for name in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(name, self._screen.exit)  # the terminal is put in order
            try:
                await self._screen.run()
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
        finally:
            await events.aclose()
        if self._ended is not None:
            raise self._ended

    def _greet(self) -> None:
        name, conversation = line(self._transcript.name), self._link.conversation
        self._screen.show(
            [Note(f"You are {name}, in conversation {conversation}. /help says what you can do.")]
        )

    def _take(self, event: Event) -> None:
        was_away, was_busy = self._transcript.away, self._transcript.busy
        if isinstance(event, Taken):
            self._sent.pop(event.key, None)
        if isinstance(event, Refused):
            self._not_stored(event)
        items = self._transcript.apply(event)
        if isinstance(event, Away) and not was_away:
            items = [Note(AWAY, bad=True)]
        elif isinstance(event, Welcome) and was_away:
            items = [Note("The bridge is back."), *items]
        if self._transcript.busy and not was_busy:
            self._since = time.monotonic()
        if self._transcript.offer != self._offered:
            self._offered, self._offered_at = self._transcript.offer, time.monotonic()
            if self._form is not None and self._form[1] != self._offered:
                self._form = None
                items.append(Note("The question was answered elsewhere."))
        self._screen.show(items)

    def _not_stored(self, event: Refused) -> None:
        sent = self._sent.pop(event.key, None)
        kept = ""
        if sent is None and any(p.key == event.key for f in self._files for p in f.parts):
            self._files = [f for f in self._files if all(p.key != event.key for p in f.parts)]
            kept = " The file is not attached any more."
        elif isinstance(sent, Say):
            self._transcript.unsay(event.key)
            if not self._screen.buffer.text:
                self._screen.buffer.text = sent.text
                self._screen.buffer.cursor_position = len(sent.text)
                kept = " Your text is back on the line."
            else:
                kept = " Up-arrow brings your text back."
        elif sent is not None:
            self._transcript.put_back(sent[0])
        said = f"Not stored: {event.message} {event.remedy}".strip()
        self._screen.show([Note(f"{said}{kept}", bad=True)])

    # What the screen shows

    def live(self, tick: int) -> list[RenderableType]:
        shown: list[RenderableType] = []
        text, tone = self._transcript.live_text()
        if text:
            shown += ["", render.markdown(text, tone)]
        shown += [render.step_line(step, tick) for step in self._transcript.live_steps()]
        if self._form is not None:
            shown += ["", *(Text(line(row), "yellow") for row in self._form[0].question())]
        elif (offer := self._ready_offer()) is not None:
            shown += ["", *_choices(offer)]
        if (status := self._status(tick)) is not None:
            shown += ["", status]
        return shown or [""]

    def _status(self, tick: int) -> RenderableType | None:
        if self._transcript.away:
            return Text(AWAY, "red")
        if self._transcript.waiting:
            return Text("Waiting for your answer.", "yellow")
        if not self._transcript.busy:
            return None
        spinner = render.SPINNER[tick % len(render.SPINNER)]
        seconds = int(time.monotonic() - self._since)
        # The bridge says by itself for how long something has been going on.
        what = line(self._transcript.status) or f"Working… {seconds} s"
        return Text(f"{spinner} {what} · Ctrl-C stops", "cyan")

    def prompt(self) -> str:
        return "? " if self._form is not None else "› "

    def moving(self) -> bool:
        return self._transcript.busy or self._offered is not None

    # What keys do

    def can_choose(self) -> bool:
        return self._form is None and self._offered is not None

    def choose(self, number: int) -> bool:
        """False where the key means no choice: it is the beginning of a message."""
        offer = self._offered
        if offer is None or number >= len(offer.choices):
            return False
        if self._ready_offer() is None:
            return True
        choice = offer.choices[number]
        if choice.form:
            self._form = (Form(choice), offer)
        else:
            self._act(offer, choice.action, choice.label, ())
        return True

    def submit(self, text: str) -> bool:
        if self._form is not None:
            return self._fill(text)
        stripped = text.strip()
        if not stripped and not self._files:
            return True
        if command := _COMMAND.fullmatch(stripped):
            self._command(stripped, command[1].lower(), command[2] or "")
            return True
        return self._say(text)

    def interrupt(self) -> bool:
        if self._form is not None:
            self.escape()
            return True
        if self._transcript.busy or self._transcript.waiting:
            self._link.send(Command(key=new_key(), name="stop"))
            return True
        if not self._screen.buffer.text:
            self._screen.show([Note("Nothing is running. Ctrl-D leaves.")])
        return False

    def escape(self) -> None:
        if self._form is not None:
            self._form = None
            self._screen.buffer.reset()

    def leave(self) -> None:
        if self._transcript.busy or self._transcript.waiting:
            again = f" --conversation {self._link.conversation}"
            again = "" if self._link.conversation == "main" else again
            self._screen.show([Note(f"The turn goes on. `bascule chat{again}` shows it again.")])
        self._screen.exit()

    def _say(self, text: str) -> bool:
        words = text.encode("utf-8", "replace").decode()
        given = tuple(file.given for file in self._files)
        said = Say(key=new_key(), text=words if words.strip() else "", files=given)
        if len(up_line(said)) > LINE_LIMIT:
            self._screen.show([Note("That is too long to be handed over.", bad=True)])
            return False
        if self._transcript.busy or self._transcript.waiting:
            first = "your decision" if self._transcript.waiting else "what is running"
            note = [Note(f"(queued behind {first})")]
        else:
            note, self._since = [], time.monotonic()
        self._sent[said.key] = said
        self._screen.show([self._transcript.say(said.key, said_text(said)), *note])
        self._link.send(said)
        self._files = []
        if self._transcript.away:
            self._screen.show([Note("It is sent as soon as the bridge is back.")])
        return True

    def _command(self, text: str, name: str, rest: str) -> None:
        if name == "quit":
            self.leave()
            return
        if name in ("attach", "detach"):
            self._attach(name, rest.strip())
            return
        self._screen.show([Note(f"› {text}"), *([Note(HELP)] if name == "help" else [])])
        self._link.send(Command(key=new_key(), name=name, rest=rest))

    def _attach(self, name: str, path: str) -> None:
        if name == "detach":
            self._files = []
        elif path:
            try:
                file = attach.ready(path)
            except attach.Unreadable as error:
                self._screen.show([Note(str(error), bad=True)])
                return
            self._files.append(file)
            for part in file.parts:
                self._link.send(part)
        names = ", ".join(f"{f.given.name} ({f.given.size:,} bytes)" for f in self._files)
        told = f"Goes with your next message: {names}" if names else "Nothing is attached."
        self._screen.show([Note(line(told))])

    def _fill(self, text: str) -> bool:
        assert self._form is not None  # noqa: S101 - the caller looked
        form, offer = self._form
        if wrong := form.give(text):
            self._screen.show([Note(wrong, bad=True)])
            return True
        if form.field is None:
            self._form = None
            self._act(offer, form.choice.action, form.choice.label, form.values())
        return True

    def _act(
        self,
        offer: Offer,
        action: str,
        label: str,
        values: tuple[tuple[str, tuple[str, ...]], ...],
    ) -> None:
        act = Act(key=new_key(), action=action, values=values)
        self._sent[act.key] = (offer, action)
        self._transcript.take_up(offer)
        self._offered = self._transcript.offer
        said = "; ".join(", ".join(texts) for _, texts in values)
        self._screen.show([Note(f"› {line(label)}{f': {line(said)}' if said else ''}")])
        self._link.send(act)

    def _ready_offer(self) -> Offer | None:
        early = time.monotonic() - self._offered_at < GRACE_SECONDS
        return None if early else self._offered


def _choices(offer: Offer) -> list[RenderableType]:
    rows: list[RenderableType] = []
    colours = {"primary": "green", "danger": "red", "plain": ""}
    for key, choice in zip(KEYS, offer.choices, strict=False):
        hint = f"  {line(choice.hint)}" if choice.hint else ""
        rows.append(
            Text.assemble(
                (f"  [{key}] ", "bold"),
                (line(choice.label), colours[choice.style]),
                (hint, "dim"),
            )
        )
    return rows
