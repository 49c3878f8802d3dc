"""What a terminal shows, as text with colours. Nothing from elsewhere keeps a control character,
however it got there: Markdown may spell one as an entity."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO
from typing import ClassVar

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markdown import CodeBlock, Markdown, MarkdownElement
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text

from adapters.console.clean import clean, line
from adapters.console.protocol import File, Tone
from adapters.console.transcript import Item, Mine, Note, Words
from adapters.contract import Step

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_BAR = {"notice": "cyan", "error": "red", "decision": "yellow"}
_STEP = {"done": ("✓", "green"), "failed": ("✗", "red"), "waiting": ("⏸", "yellow")}


class _Code(CodeBlock):
    """Code without the empty lines around it that rich would give it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Syntax(
            str(self.text).rstrip(),
            self.lexer_name,
            theme=self.theme,
            word_wrap=True,
            padding=(0, 2),
            background_color="default",
        )


class _Words(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
    }


class Safe:
    """A renderable whose text is clean, whatever its own renderer made of it; without empty lines
    around it, and with a coloured bar at its left where `bar` names a style."""

    def __init__(self, inner: RenderableType, bar: str = "") -> None:
        self._inner = inner
        self._bar = bar

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bar = [Segment("┃ ", console.get_style(self._bar))] if self._bar else []
        room = options.update(width=max(options.max_width - 2 * len(bar), 1))
        rows = console.render_lines(self._inner, room, pad=False)
        said = [number for number, row in enumerate(rows) if any(s.text.strip() for s in row)]
        for row in rows[said[0] : said[-1] + 1] if said else ():
            yield from bar
            yield from _trimmed([s for s in row if s.control is None])
            yield Segment.line()


def _trimmed(row: list[Segment]) -> list[Segment]:
    """A clean row, without the spaces that only fill it up: they would be copied with it."""
    clean_row: list[Segment] = []
    for segment in reversed(row):
        text = clean(segment.text)
        if text := text if clean_row else text.rstrip():
            clean_row.append(Segment(text, segment.style))
    return clean_row[::-1]


def markdown(text: str, tone: Tone) -> RenderableType:
    """A post's words."""
    words = _Words(clean(text), hyperlinks=False, code_theme="ansi_dark")
    return Safe(words, _BAR.get(tone, ""))


def step_line(step: Step, tick: int = 0) -> RenderableType:
    """A step on one line, its detail below where it failed. `tick` moves the spinner."""
    mark, style = _STEP.get(step.state, (SPINNER[tick % len(SPINNER)], "cyan"))
    title = Text.assemble(("  ", ""), (f"{mark} ", style), (line(step.title), ""))
    if step.state != "failed" or not step.detail.strip():
        return title
    return Group(title, Text(f"    {line(step.detail)}", style="red dim"))


def item(value: Item) -> RenderableType:
    """Something for the scrollback."""
    match value:
        case Words(markdown=text, tone=tone, again=again):
            words = markdown(text, tone)
            return Group(Text("(changed)", style="dim"), words) if again else words
        case Step():
            return step_line(value)
        case File(name=name, path=path, size=size):
            text = f"  ⎙ {line(name)} ({size:,} bytes): {line(path)}"
            return Text(text, style="cyan", overflow="fold")
        case Mine(text=text):
            return Text(f"› {clean(text)}".replace("\n", "\n  "), style="bold")
        case Note(text=text, bad=bad):
            return Text(clean(text), style="red" if bad else "dim")


def spaced(before: Item | None, value: Item) -> bool:
    """Whether an empty line belongs between the two."""
    together = (Step, File)
    return before is not None and not (isinstance(value, together) and isinstance(before, together))


def ansi(renderables: Iterable[RenderableType], width: int, *, color: bool = True) -> str:
    """The renderables one below the other, for a terminal of that width."""
    out = StringIO()
    console = Console(
        file=out,
        width=max(width, 20),
        force_terminal=True,
        color_system="auto" if color else None,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for renderable in renderables:
        console.print(renderable)
    return out.getvalue()
