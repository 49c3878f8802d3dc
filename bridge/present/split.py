"""Long Markdown as posts: nothing is cut off, and no code block is torn open.

The split is *prefix-stable*: while a text grows, only its last piece changes and new ones follow,
so a post that is full is never edited again. Every cut depends only on the text before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

SMALLEST_LIMIT = 40
_LONGEST_MARK = 8
_LONGEST_INFO = 16
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_SENTENCE = re.compile(r"[.!?…:;][\"')\]]*(?=\s)")


@dataclass(frozen=True, slots=True)
class Piece:
    """`text[start:end]` of the whole, between a reopened and a closed code fence."""

    start: int
    end: int
    opening: str
    closing: str

    def of(self, text: str) -> str:
        return f"{self.opening}{text[self.start : self.end]}{self.closing}"


@dataclass(frozen=True, slots=True)
class _Fence:
    mark: str
    info: str

    @property
    def opening(self) -> str:
        return f"{self.mark}{self.info}\n"

    def closed_by(self, line: str) -> bool:
        found = _FENCE.match(line)
        return (
            found is not None
            and not found[2].strip()
            and found[1][0] == self.mark[0]
            and len(found[1]) >= len(self.mark)
        )


class Splitter:
    """Splits one growing text. `limit` is in characters, at least `SMALLEST_LIMIT`."""

    def __init__(self, limit: int) -> None:
        if limit < SMALLEST_LIMIT:
            raise ValueError(f"a post must hold at least {SMALLEST_LIMIT} characters")
        self._limit = limit
        self._text = ""
        self._cut: list[Piece] = []
        self._start = 0
        self._fence: _Fence | None = None

    def split(self, text: str) -> list[str]:
        """The pieces, in order, each at most `limit` long; none for a blank text.

        Cheap where the text is the last one with more at its end.
        """
        return [piece.of(text) for piece in self.pieces(text)]

    def pieces(self, text: str) -> list[Piece]:
        """Where the pieces are. Between two of them only white space is left out."""
        if not text.startswith(self._text[: self._start]):
            self._cut, self._start, self._fence = [], 0, None
        self._text = text
        while (cut := self._next_cut()) is not None:
            end, fence = cut
            self._cut.append(self._piece(end, fence))
            self._start, self._fence = end, fence
        if self._says_nothing_yet(text[self._start :]):
            return list(self._cut)
        return [*self._cut, self._piece(len(text), self._fence_at(len(text)))]

    def _piece(self, end: int, fence: _Fence | None) -> Piece:
        opening = self._fence.opening if self._fence else ""
        if fence is None:
            end = self._start + len(self._text[self._start : end].rstrip())
            return Piece(self._start, end, opening, "")
        closing = fence.mark if self._text[end - 1] == "\n" else f"\n{fence.mark}"
        return Piece(self._start, end, opening, closing)

    def _says_nothing_yet(self, rest: str) -> bool:
        if self._fence is not None:
            # It may become the line that closes the block, which needs no post of its own.
            rest = rest.strip().strip(self._fence.mark[0])
        return not rest.strip()

    def _skip(self) -> None:
        """White space between two posts says nothing, nor does the end of a block just closed."""
        text = self._text
        if self._fence is not None:
            line, newline, _ = text[self._start :].partition("\n")
            if not newline or not self._fence.closed_by(line):
                return
            self._start += len(line) + 1
            self._fence = None
        while self._start < len(text) and text[self._start] == "\n":
            self._start += 1

    def _room(self) -> int:
        # Always enough for the closing of a fence that has yet to come.
        opening = len(self._fence.opening) if self._fence else 0
        return self._limit - opening - _LONGEST_MARK - 1

    def _next_cut(self) -> tuple[int, _Fence | None] | None:
        """The end of the piece that begins at the start, and the fence that is open there."""
        self._skip()
        room = self._room()
        if len(self._text) - self._start <= room:
            return None
        window = self._text[self._start : self._start + room]
        breaks = _breaks(window, self._fence)
        late = [place for place in breaks if place.end * 5 >= room * 2]
        best = max(late or breaks, key=lambda place: (place.worth, place.end), default=None)
        end = self._start + (best.end if best else room)
        return end, self._fence_at(end)

    def _fence_at(self, end: int) -> _Fence | None:
        fence = self._fence
        for line in self._text[self._start : end].split("\n"):
            fence = _after_line(fence, line)
        return fence


def split(text: str, limit: int) -> list[str]:
    """The pieces of a text that does not grow (see `Splitter.split`)."""
    return Splitter(limit).split(text)


def _after_line(fence: _Fence | None, line: str) -> _Fence | None:
    if fence is not None:
        return None if fence.closed_by(line) else fence
    found = _FENCE.match(line)
    if found is None or len(found[1]) > _LONGEST_MARK:
        return None
    info = found[2].strip().split(" ")[0]
    return _Fence(found[1], info if len(info) <= _LONGEST_INFO else "")


@dataclass(frozen=True, slots=True)
class _Break:
    end: int
    worth: int


def _breaks(window: str, fence: _Fence | None) -> list[_Break]:
    """Places to cut: a paragraph's end is worth more than a line's, a sentence's or a space; in a
    code block only a line's end, and not the one that opens it."""
    found: list[_Break] = []
    place = 0
    lines = window.split("\n")
    for line, following in pairwise(lines):
        inside = fence is not None
        fence = _after_line(fence, line)
        place += len(line) + 1
        if fence is None:
            paragraph = not line.strip() or not following.strip()
            found.append(_Break(place, 5 if paragraph else 4))
        elif inside:
            found.append(_Break(place, 3))
    last = lines[-1]
    if fence is None and not last.lstrip(" ").startswith(("```", "~~~")):
        found += [_Break(place + m.end(), 2) for m in _SENTENCE.finditer(last)]
        found += [_Break(place + m.end(), 1) for m in re.finditer(r"\s", last)]
    return [place for place in found if window[: place.end].strip()]
