"""A neutral post as Slack's blocks. Nothing of it is left out.

The text is a `markdown` block, which takes Markdown as it is; the same text stands beside the
blocks for notifications and for servers that show no blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.contract import FOLDED, Choice, MessageOut, Step
from adapters.slack.words import calling_nobody, clipped, escaped, joined

TEXT_LIMIT = 8_000
"""Characters of Markdown in a post: all blocks of one together fail near 13,200, and steps, buttons
and line ends need room, too."""
BUTTON_LABEL, BUTTONS = 75, 5
HINT = 160
STEPS_ROOM = 2_400
SMALL_PRINT = 1_900
CHOICE, STOP = "choice", "stop"
"""Beginnings of `action_id`s. What a button stands for is in its `value`."""
_MARKS = {"running": "⏳", "done": "✓", "failed": "✗", "waiting": "…"}
_STYLES = {"primary": "primary", "danger": "danger"}


@dataclass(frozen=True, slots=True)
class Rendered:
    text: str
    blocks: list[dict[str, Any]] = field(default_factory=list)


def render(message: MessageOut) -> Rendered:
    """The post as Slack takes it."""
    markdown = calling_nobody(_markdown(message))
    blocks: list[dict[str, Any]] = []
    if markdown.strip():
        blocks.append({"type": "markdown", "text": markdown})
    blocks += small(step_lines(message.steps))
    blocks += _choices(message.choices)
    if message.status and not message.final:
        blocks += small([message.status])
        blocks.append(stop_row())
    lines = [markdown, *step_lines(message.steps)]
    text = "\n".join(line for line in lines if line.strip())
    if not text:
        text = ", ".join(file.name for file in message.files) or "…"
    if not blocks:
        blocks = small([text])
    return Rendered(escaped(text), blocks)


def _markdown(message: MessageOut) -> str:
    if message.tone == "error" and message.markdown and not message.markdown.startswith("⚠"):
        return f"⚠ {message.markdown}"
    return message.markdown


def step_lines(steps: Sequence[Step]) -> list[str]:
    """A line a step. Where there are too many for a post, what failed has the room."""
    lines = [(step, _step_line(step)) for step in steps]
    if sum(len(line) + 1 for _, line in lines) > STEPS_ROOM:
        kept = [(step, line) for step, line in lines if step.state != "done" or step.id == FOLDED]
        each = max(STEPS_ROOM // max(len(kept), 1) - 1, 30)
        lines = [(step, clipped(line, each)) for step, line in kept]
    return [line for _, line in lines]


def _step_line(step: Step) -> str:
    detail = f": {' '.join(step.detail.split())}" if step.detail else ""
    return clipped(f"{_MARKS[step.state]} {' '.join(step.title.split())}{detail}", 300)


def small(lines: Sequence[str]) -> list[dict[str, Any]]:
    """Lines in small print, without any meaning as markup."""
    return [
        {"type": "context", "elements": [{"type": "plain_text", "text": text, "emoji": False}]}
        for text in joined((calling_nobody(line) for line in lines), SMALL_PRINT)
        if text.strip()
    ]


def _choices(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    buttons = [button(number, choice) for number, choice in enumerate(choices)]
    rows = [buttons[n : n + BUTTONS] for n in range(0, len(buttons), BUTTONS)]
    blocks: list[dict[str, Any]] = [{"type": "actions", "elements": row} for row in rows]
    hints = [
        f"{choice.label}: {choice.hint}" if choice.hint else choice.label
        for choice in choices
        if choice.hint or len(choice.label) > BUTTON_LABEL
    ]
    return blocks + small([clipped(" ".join(hint.split()), HINT) for hint in hints])


def button(number: int, choice: Choice) -> dict[str, Any]:
    """`value` is the choice's action and nothing else."""
    made: dict[str, Any] = {
        "type": "button",
        "action_id": f"{CHOICE}:{number}{':form' if choice.form else ''}",
        "value": choice.action,
        "text": plain(choice.label, BUTTON_LABEL),
    }
    if choice.style in _STYLES:
        made["style"] = _STYLES[choice.style]
    return made


def stop_row() -> dict[str, Any]:
    """The button that stops what is being written."""
    stop = {"type": "button", "action_id": STOP, "value": STOP, "text": plain("Stop", 75)}
    return {"type": "actions", "elements": [stop]}


def plain(text: str, limit: int) -> dict[str, Any]:
    """A text object, at most so long, never empty."""
    shown = clipped(" ".join(text.split()), limit) or "…"
    return {"type": "plain_text", "text": shown, "emoji": True}


def section(mrkdwn: str) -> dict[str, Any]:
    """Slack's own markup; whoever writes it escapes what is somebody else's."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": clipped(mrkdwn, 3000)}}


def bare(rendered: Rendered) -> Rendered:
    """The text alone, which may be longer than blocks together."""
    return Rendered(rendered.text, [])


def simpler(rendered: Rendered) -> Rendered:
    """The same for a server that does not know the `markdown` block: its text as it stands."""
    blocks: list[dict[str, Any]] = []
    for block in rendered.blocks:
        if block["type"] != "markdown":
            blocks.append(block)
            continue
        text = escaped(str(block["text"]))
        blocks += [section(text[n : n + 2900]) for n in range(0, len(text), 2900)]
    return Rendered(rendered.text, blocks)
