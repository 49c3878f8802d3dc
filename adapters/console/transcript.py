"""A conversation as one terminal has shown it: what is new to print, and what is still moving.

A terminal cannot take back what it has printed. So text is printed a finished block at a time, a
step when it is over, and each once, however often a post arrives; the rest is `live`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from adapters.console.blocks import blocks
from adapters.console.link import Away, Event
from adapters.console.protocol import (
    Body,
    File,
    Mark,
    Marked,
    Post,
    Said,
    Status,
    Taken,
    Tone,
    Trouble,
    Welcome,
)
from adapters.contract import FOLDED, Choice, Step

PLACEHOLDER = "…"
_OVER = ("done", "failed")
_OPEN = ("queued", "working")


@dataclass(frozen=True, slots=True)
class Words:
    """Markdown of a post; `again` where it replaces words that were printed before."""

    markdown: str
    tone: Tone
    again: bool = False


@dataclass(frozen=True, slots=True)
class Mine:
    """What the person wrote, here or in another terminal."""

    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """A word of the terminal's own."""

    text: str
    bad: bool = False


Item: TypeAlias = Words | Step | File | Mine | Note


@dataclass(frozen=True, slots=True)
class Offer:
    """Choices that can be taken now. `post` is their post."""

    post: str
    choices: tuple[Choice, ...]
    decision: bool


@dataclass(slots=True)
class _Shown:
    post: Post
    printed: str = ""
    anchors: dict[str, int] = field(default_factory=dict)
    """Of each step: the length of the text when it was first seen."""
    through: set[str] = field(default_factory=set)
    """Steps and files that were printed."""

    @property
    def text(self) -> str:
        body = self.post.body
        waits = not body.final and body.markdown.strip() == PLACEHOLDER
        return "" if waits else body.markdown


class Transcript:
    """`apply` takes events in the order they come and gives what is to be printed."""

    def __init__(self) -> None:
        self.name = ""
        self.status = ""
        self.away = False
        self._posts: dict[str, _Shown] = {}
        self._marks: dict[str, Mark | None] = {}
        self._revs: dict[str, int] = {}
        self._said: set[str] = set()
        self._last = ""
        """What came last: a post's ref, or empty for a message of the person."""
        self._taken_up: set[str] = set()
        """Posts whose choices were used and did not change since."""

    def apply(self, event: Event) -> list[Item]:
        match event:
            case Welcome():
                self.away, self.name, self.status = False, event.name, event.status
                return [item for entry in event.entries for item in self._entry(entry)]
            case Post() | Said():
                return self._entry(event)
            case Marked(key=key, rev=rev, mark=mark):
                if rev > self._revs.get(key, 0):
                    self._revs[key], self._marks[key] = rev, mark
            case Status(text=text):
                self.status = text
            case Taken(reply=reply) if reply is not None:
                return [Words(reply.markdown, reply.tone)]
            case Trouble(message=message):
                return [Note(message, bad=True)]
            case Away():
                self.away = True
            case _:
                pass
        return []

    def say(self, key: str, text: str) -> Mine:
        """The person wrote it here: it is shown at once, and not again when it comes back."""
        self._marks.setdefault(key, None)
        self._said.add(key)
        self._last = ""
        return Mine(text)

    def unsay(self, key: str) -> None:
        """It was not stored: nothing is to be waited for."""
        self._marks.pop(key, None)
        self._said.discard(key)

    def take_up(self, offer: Offer) -> None:
        """A choice was taken: the offer is over, unless the bridge has something to say to it."""
        self._taken_up.add(offer.post)

    def put_back(self, offer: Offer) -> None:
        """The choice did not arrive."""
        self._taken_up.discard(offer.post)

    def mark(self, key: str) -> Mark | None:
        return self._marks.get(key)

    @property
    def busy(self) -> bool:
        """Something is queued or being worked on, and does not wait for a decision."""
        return self._open and not self.waiting

    @property
    def waiting(self) -> bool:
        """A turn waits for a decision."""
        return self._open and self._decision() is not None

    @property
    def _open(self) -> bool:
        return any(mark in _OPEN for mark in self._marks.values())

    @property
    def offer(self) -> Offer | None:
        """A decision that waits, else choices of what came last."""
        ref = self._decision() or self._last
        shown = self._posts.get(ref)
        if shown is None or not shown.post.body.choices or ref in self._taken_up:
            return None
        return Offer(ref, shown.post.body.choices, shown.post.body.tone == "decision")

    def live_text(self) -> tuple[str, Tone]:
        """The block that still grows."""
        for shown in reversed(self._posts.values()):
            if rest := shown.text[len(shown.printed) :].strip("\n"):
                return rest, shown.post.body.tone
        return "", "answer"

    def live_steps(self) -> list[Step]:
        """Steps that are not over, or not printed yet because their text is not."""
        return [
            step
            for shown in self._posts.values()
            for step in shown.post.body.steps
            if step.id not in shown.through
        ]

    def post(self, ref: str) -> Body | None:
        shown = self._posts.get(ref)
        return shown.post.body if shown else None

    def posts(self) -> Iterator[tuple[str, Body]]:
        """All that were seen, in the order in which they came."""
        for ref, shown in self._posts.items():
            yield ref, shown.post.body

    def _decision(self) -> str | None:
        for ref, shown in reversed(self._posts.items()):
            body = shown.post.body
            if body.tone == "decision" and body.choices and ref not in self._taken_up:
                return ref
        return None

    def _entry(self, entry: Post | Said) -> list[Item]:
        if isinstance(entry, Said):
            return self._message(entry)
        shown = self._posts.get(entry.ref)
        if shown is None:
            shown = self._posts[entry.ref] = _Shown(entry)
            self._last = entry.ref
            if entry.body.tone in ("notice", "error"):
                # It may be the bridge's word about a choice: what is still open is offered again.
                self._taken_up.clear()
        elif entry.rev <= shown.post.rev:
            return []
        elif entry.body.choices != shown.post.body.choices:
            self._taken_up.discard(entry.ref)
        shown.post = entry
        return self._news(shown)

    def _message(self, said: Said) -> list[Item]:
        new = said.key not in self._said
        self._said.add(said.key)
        if said.rev > self._revs.get(said.key, 0):
            self._revs[said.key] = said.rev
            self._marks[said.key] = said.mark or self._marks.get(said.key)
        if new:
            self._last = ""
            return [Mine(said.text)]
        return []

    def _news(self, shown: _Shown) -> list[Item]:
        body, text = shown.post.body, shown.text
        items: list[Item] = []
        again = not text.startswith(shown.printed)
        if again:
            shown.printed = _common(shown.printed, text)
        found = blocks(text[len(shown.printed) :])
        # A step that runs says that the text before it is complete.
        whole = body.final or any(
            step.state == "running" and step.id not in shown.anchors for step in body.steps
        )
        for step in body.steps:
            shown.anchors.setdefault(step.id, len(text.rstrip()))
        items += self._steps(shown, False)
        for block in found if whole else found[:-1]:
            shown.printed += block
            if block.strip():
                last = items[-1] if items else None
                if isinstance(last, Words):
                    items[-1] = Words(last.markdown + block, body.tone, last.again)
                else:
                    items.append(Words(block, body.tone, again))
                again = False
            items += self._steps(shown, False)
        items += self._steps(shown, body.final)
        for file in body.files:
            if file.path not in shown.through:
                shown.through.add(file.path)
                items.append(file)
        return items

    def _steps(self, shown: _Shown, all_of_them: bool) -> Iterator[Step]:
        for step in shown.post.body.steps:
            printable = all_of_them or len(shown.printed) >= shown.anchors[step.id]
            if step.state in _OVER and step.id not in shown.through and printable:
                # What it stands for was printed as it came.
                known = step.id == FOLDED and bool(shown.through)
                shown.through.add(step.id)
                if not known:
                    yield step


def _common(before: str, now: str) -> str:
    """What two texts have in common, in whole blocks."""
    common = ""
    for old, new in zip(blocks(before), blocks(now), strict=False):
        if old != new:
            break
        common += old
    return common
