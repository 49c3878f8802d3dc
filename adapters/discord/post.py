"""A post of the bridge as one message of Discord: never over its limit, and nothing cut.

What does not fit into a message is in a file with it, whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapters.contract import FileOut, MessageOut, Step
from adapters.discord.choices import Row, long_labels, rows
from adapters.discord.markdown import to_discord

LIMIT = 2000
"""Characters of one message on Discord."""
TEXT_LIMIT = 1600
"""What the bridge may put into a post; steps, a status and tables need the rest."""
_LONGEST_TITLE = 120
_LONGEST_DETAIL = 300
_MARKS = {"running": "◌", "done": "✓", "failed": "✗", "waiting": "⏸"}
_TONES = {"error": "⚠ ", "notice": "", "decision": "", "answer": ""}
OVERFLOW = "message.md"
_MORE = f"-# The whole of it is in {OVERFLOW}."
_NOTHING = "…"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One message. `overflow` says that its first file is what did not fit."""

    content: str
    rows: tuple[Row, ...]
    files: tuple[FileOut, ...]
    overflow: bool = False


def render(message: MessageOut) -> Rendered:
    """The post as Discord shows it, its content at most `LIMIT` characters."""
    text = _TONES[message.tone] + to_discord(message.markdown) if message.markdown.strip() else ""
    labels = long_labels(message.choices)
    whole = _joined([text, *_steps(message.steps), *labels, _status(message.status)])
    made = rows(message.choices, stop=bool(message.status.strip()) and not message.final)
    if len(whole) <= LIMIT:
        if not whole and not message.files:
            whole = _NOTHING
        return Rendered(whole, made, message.files)
    folded = _joined([text, *_folded(message.steps), *labels, _status(message.status)])
    if len(folded) <= LIMIT and not _cut(message.steps):
        return Rendered(folded, made, message.files)
    file = FileOut(OVERFLOW, "text/markdown; charset=utf-8", _source(message))
    return Rendered(_beginning(message.markdown), made, (file, *message.files), overflow=True)


def without_files(post: Rendered) -> Rendered:
    """The same where Discord does not take the files: they are named with their sizes."""
    named = ", ".join(
        f"{plain(file.name, 60)} ({len(file.data) / 2**20:.1f} MiB)" for file in post.files
    )
    word = f"-# Too large for Discord here: {named}"[:LIMIT]
    room = LIMIT - len(word) - 1
    return replace(post, content=_joined([post.content[:room], word]), files=())


def _joined(parts: Sequence[str]) -> str:
    return "\n".join(part for part in parts if part)


def _beginning(markdown: str) -> str:
    """As much of it as fits, rendered by itself, so that its code blocks end."""
    room = LIMIT - len(_MORE) - 1
    size = room
    while size > 20:
        shown = to_discord(markdown[:size])
        if len(shown) <= room:
            return _joined([shown, _MORE])
        size -= max(len(shown) - room, 20)
    return _MORE


def _source(message: MessageOut) -> bytes:
    steps = [f"- {_MARKS[step.state]} {step.title}" + (f": {step.detail}" if step.detail else "")
             for step in message.steps]  # fmt: skip
    labels = [f"- [{choice.label}]" for choice in message.choices if len(choice.label) > 80]
    parts = [message.markdown, "\n".join(steps), "\n".join(labels), message.status]
    return "\n\n".join(part for part in parts if part).encode("utf-8", "replace")


def _steps(steps: Sequence[Step]) -> list[str]:
    return [_step(step) for step in steps]


def _folded(steps: Sequence[Step]) -> list[str]:
    done = [step for step in steps if step.state == "done"]
    kept = [step for step in steps if step.state != "done"]
    return [*([f"-# ✓ {len(done)} steps"] if done else []), *_steps(kept)]


def _cut(steps: Sequence[Step]) -> bool:
    """Whether something that must be seen is longer than a line."""
    return any(
        len(step.title) > _LONGEST_TITLE or len(step.detail) > _LONGEST_DETAIL
        for step in steps
        if step.state != "done"
    )


def _step(step: Step) -> str:
    line = f"-# {_MARKS[step.state]} {plain(step.title, _LONGEST_TITLE)}"
    if step.state == "failed" and step.detail.strip():
        line += f"\n-# {plain(step.detail, _LONGEST_DETAIL)}"
    return line


def _status(status: str) -> str:
    return f"-# ◌ {plain(status, _LONGEST_TITLE)}" if status.strip() else ""


def plain(text: str, limit: int) -> str:
    """Somebody's words on one line, without a meaning as Markdown; `…` where they were longer."""
    line = " ".join(text.split())
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return "".join(f"\\{c}" if c in "\\`*_~|[]<>#" else c for c in line)
