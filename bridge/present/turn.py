"""A turn's events as posts: the answer in pieces, its steps, a card a decision, a word at its end.

The same events give the same posts, deltas or not, and posts are only ever appended: after a
crash the turn is presented again and every post finds itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from adapters.contract import FileOut, MessageOut, Step
from agent_service.contract import events
from bridge.present.decision import PLAIN, approved, card, plain, resolved
from bridge.present.split import Splitter
from bridge.present.steps import doing, folded, status_line

_CARDS_OF_THEIR_OWN = {"AskUserQuestion", "ExitPlanMode"}
"""Tools that a person sees as a decision; as a step they would only say it again."""
_NOISE = {"ToolSearch"}
_LONGEST_STATUS = 200
MOST_POSTS = 6
"""Posts that one answer may fill. Of a longer one they are its beginning; a file has it all."""
WHOLE = "The whole answer is in the file."
FOLLOWS = "More follows, as a file."
STOPPED = "Stopped."
NOTHING_TO_SAY = "Done. The agent had nothing to say."


@dataclass(slots=True)
class _Segment:
    """What is said between two decisions: one text, growing over as many posts as it needs."""

    first: int
    splitter: Splitter
    file_limit: int
    blocks: list[str] = field(default_factory=list)
    open: str = ""
    steps: list[tuple[int, Step]] = field(default_factory=list)
    """With the place of the post they are shown in."""
    closed: bool = False
    most: int = 0
    file: FileOut | None = None
    """All that was said, where it is too long for posts and complete."""

    def texts(self) -> list[str]:
        """One text a post; at least as many as ever before."""
        blocks = [*self.blocks, self.open.strip("\n")]  # as the block will be once it is whole
        whole = "\n\n".join(block for block in blocks if block)
        texts = self.splitter.split(whole)
        self.file = None
        if len(texts) > MOST_POSTS:
            data = whole.encode("utf-8", "replace")
            if len(data) <= self.file_limit:
                texts = [*texts[:MOST_POSTS], WHOLE if self.closed else FOLLOWS]
                self.file = FileOut("answer.md", PLAIN, data) if self.closed else None
        needed = max([self.most, *(place + 1 for place, _ in self.steps)])
        texts += [""] * (needed - len(texts))
        self.most = len(texts)
        return texts

    def posts(self, status: str) -> list[tuple[str, MessageOut]]:
        texts = self.texts()
        found = []
        for place, text in enumerate(texts):
            steps = tuple(step for at, step in self.steps if at == place)
            file = self.file if place == MOST_POSTS else None
            last = place == len(texts) - 1
            busy = any(step.state == "running" for step in steps)
            over = self.closed or (not last and not busy)
            shown = MessageOut(
                text or ("" if steps else "…"),
                steps=folded(steps, over=self.closed),
                files=(file,) if file is not None else (),
                status=status if last and not self.closed else "",
                final=over,
            )
            found.append((str(self.first + place), shown))
        return found


class TurnPresentation:
    """Implements `bridge.engine.turn.Presentation`. The limits are the platform's. Whoever decided
    is named in the events by their name.

    A notice is what goes on right now, as long as it does, and leaves nothing behind. Before the
    turn has started nothing else is said for long, so there it is a post of its own.
    """

    def __init__(
        self, text_limit: int, file_limit: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._began: float | None = None
        """When it began to work, or to go on, as far as this presentation saw."""
        self._steps = 0
        self._files: dict[str, MessageOut] = {}
        self._limit = text_limit
        self._file_limit = file_limit
        self._parts: list[_Segment | str] = []
        """Segments, and between them the ids of decisions and the suffixes of files' posts."""
        self._cards: dict[str, MessageOut] = {}
        self._hidden: dict[str, Step] = {}
        self._end: MessageOut | None = None
        self._status = ""
        self._started_yet = False
        self._before: MessageOut | None = None
        """The notice that came before the turn's start."""

    def apply(self, event: events.Event) -> None:
        """Take the turn's next event."""
        match event:
            case events.TurnStarted():
                self._status = "Thinking…"
                self._started_yet = True
                self._began = self._clock()
            case events.TextDelta(text=text):
                self._segment().open += text
                self._status = "Writing…"
            case events.Text(text=text):
                segment = self._segment()
                segment.blocks.append(text.strip("\n"))
                segment.open = ""
                self._status = "Writing…"
            case events.Notice(text=text):
                self._notice(text)
            case events.ToolStarted():
                self._started(event)
            case events.ToolFinished():
                self._tool_over(event)
            case events.DecisionRequested(decision=asked) if asked.kind == "network":
                # Nothing waits for it: the turn goes on.
                self._end_segments()
                self._parts.append(asked.id)
                self._cards[asked.id] = card(asked, self._limit, self._file_limit)
            case events.DecisionRequested(decision=asked):
                self._close("waiting")
                self._parts.append(asked.id)
                self._cards[asked.id] = card(asked, self._limit, self._file_limit)
                self._status, self._began = "Waiting for your answer", None
            case events.DecisionApproved(id=key) if key in self._cards:
                self._cards[key] = approved(self._cards[key], event, self._limit)
            case events.DecisionResolved(id=key) if key in self._cards:
                self._cards[key] = resolved(self._cards[key], event, self._limit)
                self._status, self._began = "Thinking…", self._clock()
            case events.EgressRefused():
                self._host_refused(event)
            case events.TurnFinished():
                self._finished(event)

    def file(self, post: MessageOut) -> str:
        """A post with a file that the agent sent, below what was said so far; gives its suffix."""
        self._end_segments()
        suffix = f"f-{len(self._files) + 1}"
        self._parts.append(suffix)
        self._files[suffix] = post
        return suffix

    def posts(self) -> list[tuple[str, MessageOut]]:
        """(suffix of the key, post), in order; posts are only ever appended."""
        found: list[tuple[str, MessageOut]] = []
        if self._before is not None:
            found.append(("before", self._before))
        for part in self._parts:
            if isinstance(part, str) and part in self._files:
                found.append((part, self._files[part]))
            elif isinstance(part, str):
                found.append((f"d-{part}", self._cards[part]))
            else:
                found += part.posts(self.status())
        if self._end is not None:
            found.append(("end", self._end))
        return found

    def status(self) -> str:
        """One line about what goes on, for how long, in how many steps; empty when nothing does."""
        if not self._status or self._began is None:
            return self._status
        return status_line(self._status, self._clock() - self._began, self._steps)

    def _segment(self) -> _Segment:
        last = self._parts[-1] if self._parts else None
        if isinstance(last, _Segment):
            return last
        first = sum(part.most for part in self._parts if isinstance(part, _Segment))
        made = _Segment(first, Splitter(self._limit), self._file_limit)
        self._parts.append(made)
        return made

    def _notice(self, text: str) -> None:
        self._status = " ".join(text.split())[:_LONGEST_STATUS]
        if not self._started_yet and not self._parts:
            self._before = MessageOut(plain(text, self._limit // 2), tone="notice")

    def _started(self, event: events.ToolStarted) -> None:
        title = f"↳ {event.title}" if event.parent else event.title
        step = Step(event.id, title, "running")
        self._status = doing(event)
        if event.tool in _CARDS_OF_THEIR_OWN | _NOISE:
            self._hidden[event.id] = step
        else:
            self._steps += 1
            self._add(step)

    def _add(self, step: Step) -> None:
        segment = self._segment()
        segment.steps.append((max(len(segment.texts()) - 1, 0), step))

    def _host_refused(self, event: events.EgressRefused) -> None:
        host = f"[{event.host}]" if ":" in event.host else event.host
        target = f"{host}:{event.port}"
        key = f"egress:{target}"
        if any(step.id == key for segment in self._segments() for _, step in segment.steps):
            return  # told by the process before, in the same turn
        if event.reason == "not_public":
            why = "Its name leads into the network of this machine; such a host is never reached."
        else:
            why = "It is not allowed here. Someone who runs Bascule can allow it; then ask again."
        self._add(Step(key, f"Refused: a connection to {target}", "failed", why))

    def _tool_over(self, event: events.ToolFinished) -> None:
        self._status = "Thinking…"
        hidden = self._hidden.pop(event.id, None)
        if hidden is not None:
            if event.ok:
                return
            self._add(hidden)
        for segment in self._segments():
            for number, (place, step) in enumerate(segment.steps):
                if step.id == event.id:
                    over = (
                        replace(step, state="done")
                        if event.ok
                        else replace(step, state="failed", detail=event.summary)
                    )
                    segment.steps[number] = (place, over)

    def _segments(self) -> list[_Segment]:
        return [part for part in self._parts if isinstance(part, _Segment)]

    def _close(self, left: Literal["done", "failed", "waiting"]) -> None:
        """Nothing more is added to what was said; steps that did not end become `left`."""
        for segment in self._segments():
            for number, (place, step) in enumerate(segment.steps):
                if step.state == "running" or (step.state == "waiting" and left != "waiting"):
                    segment.steps[number] = (place, replace(step, state=left))
        self._end_segments()

    def _end_segments(self) -> None:
        """What comes now stands below; steps that still run go on where they are."""
        for segment in self._segments():
            segment.closed = True
            segment.texts()

    def _finished(self, event: events.TurnFinished) -> None:
        self._close("done" if event.outcome == "completed" else "failed")
        self._status = ""
        if event.outcome == "completed":
            if not self._parts:
                self._end = MessageOut(NOTHING_TO_SAY, tone="notice")
            return
        if event.outcome == "interrupted" and event.reason == "stopped":
            self._end = MessageOut(STOPPED, tone="notice")
            return
        said = event.message or "The turn did not end well."
        self._end = MessageOut(f"{said}\n\n{event.remedy}".strip(), tone="error")
