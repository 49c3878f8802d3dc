"""The terminal: what is finished scrolls up, what moves stays above the line one writes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TextIO

from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, AnyFormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    Dimension,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.output.vt100 import Vt100_Output
from rich.console import RenderableType

from adapters.console import render
from adapters.console.transcript import Item

TICK_SECONDS = 0.1
MOST_INPUT_LINES = 8
KEYS = "123456789abcdefghijklmnopqrstuvwxyz"
"""What takes the first choice, the second, and so on."""


class Watched(Protocol):
    """What the screen shows and what keys do (`adapters.console.chat.Chat`)."""

    def live(self, tick: int) -> list[RenderableType]:
        """What moves, above the line."""
        ...

    def prompt(self) -> str: ...

    def moving(self) -> bool:
        """Whether the screen must be drawn again although nothing was said."""
        ...

    def can_choose(self) -> bool:
        """Whether a single key takes a choice."""
        ...

    def choose(self, number: int) -> bool:
        """False where there is no such choice."""
        ...

    def submit(self, text: str) -> bool:
        """False to keep the text on the line."""
        ...

    def interrupt(self) -> bool:
        """Ctrl-C; False when there was nothing to stop."""
        ...

    def escape(self) -> None: ...

    def leave(self) -> None: ...


def history_at(path: Path) -> History:
    """What was written, kept for the next time; only in memory where it cannot be."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


class Screen:
    """`show` prints for good; the rest is drawn from `watched`."""

    def __init__(self, watched: Watched, history: History, out: TextIO) -> None:
        self._watched = watched
        self._pending: list[Item] = []
        self._last: Item | None = None
        self._wake = asyncio.Event()
        self._tick = 0
        output = Vt100_Output.from_pty(out)
        # Do not ask the terminal where its cursor is: not every one answers.
        output.enable_cpr = False
        self.buffer = Buffer(history=history, multiline=True)
        self.app: Application[None] = Application(
            layout=self._layout(),
            key_bindings=self._keys(),
            input=create_input(),
            output=output,
            min_redraw_interval=0.04,
            erase_when_done=True,
        )

    def show(self, items: Sequence[Item]) -> None:
        """Print items above everything that moves, in order."""
        self._pending += items
        self._wake.set()
        self.app.invalidate()

    async def run(self) -> None:
        """Until `Watched.leave` ends the application."""
        helpers: list[asyncio.Task[None]] = []

        def help_it() -> None:
            helpers.append(asyncio.create_task(self._printing()))
            helpers.append(asyncio.create_task(self._ticking()))

        self._print()
        try:
            await self.app.run_async(pre_run=help_it, handle_sigint=False)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            self._print()

    def exit(self) -> None:
        if self.app.is_running and self.app.future is not None and not self.app.future.done():
            self.app.exit()

    async def _printing(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._pending:
                await run_in_terminal(self._print)

    def _print(self) -> None:
        items, self._pending = self._pending, []
        found: list[RenderableType] = []
        for item in items:
            if render.spaced(self._last, item):
                found.append("")
            found.append(render.item(item))
            self._last = item
        if found:
            self.app.output.write_raw(render.ansi(found, self._width()).replace("\n", "\r\n"))
            self.app.output.flush()

    async def _ticking(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if self._watched.moving():
                self._tick += 1
                self.app.invalidate()

    def _width(self) -> int:
        return self.app.output.get_size().columns

    def _live(self) -> AnyFormattedText:
        lines = render.ansi(self._watched.live(self._tick), self._width()).splitlines()
        room = max(self.app.output.get_size().rows - MOST_INPUT_LINES - 3, 3)
        if len(lines) > room:
            lines = ["⋮", *lines[1 - room :]]
        return ANSI("\n".join(lines))

    def _layout(self) -> Layout:
        live = Window(FormattedTextControl(self._live), dont_extend_height=True, wrap_lines=False)
        line = Window(
            BufferControl(self.buffer, [BeforeInput(self._watched.prompt, "bold")]),
            height=Dimension(min=1, max=MOST_INPUT_LINES),
            wrap_lines=True,
            dont_extend_height=True,
        )
        shown = ConditionalContainer(live, Condition(lambda: bool(self._watched.live(0))))
        return Layout(HSplit([shown, line]), focused_element=line)

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        empty = Condition(lambda: not self.buffer.text)
        can_choose = Condition(self._watched.can_choose)

        @keys.add("enter")
        def _(_event: KeyPressEvent) -> None:
            self._submit()

        @keys.add("escape", "enter")
        def _(_event: KeyPressEvent) -> None:
            self.buffer.newline(copy_margin=False)

        @keys.add("escape", eager=False)
        def _(_event: KeyPressEvent) -> None:
            self._watched.escape()

        @keys.add("c-c")
        def _(_event: KeyPressEvent) -> None:
            if self._watched.interrupt():
                return
            if self.buffer.text:
                self.buffer.reset()

        @keys.add("c-d", filter=empty)
        def _(_event: KeyPressEvent) -> None:
            self._watched.leave()

        @keys.add(Keys.Vt100MouseEvent)
        def _(_event: KeyPressEvent) -> None:
            # Nothing here asks for the mouse, but any `ESC[…m` that is typed or pasted looks like
            # it, and prompt_toolkit's own binding fails on a colour.
            pass

        for number, key in enumerate(KEYS):
            keys.add(key, filter=empty & can_choose)(self._choosing(number))
        return keys

    def _choosing(self, number: int) -> Callable[[KeyPressEvent], None]:
        def choose(event: KeyPressEvent) -> None:
            if not self._watched.choose(number):
                self.buffer.insert_text(event.data)

        return choose

    def _submit(self) -> None:
        text = self.buffer.text
        if self._watched.submit(text):
            if text.strip():
                self.buffer.append_to_history()
            self.buffer.reset()
