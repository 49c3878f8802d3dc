"""Long Markdown as posts."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.present.split import SMALLEST_LIMIT, Splitter, split

LINES = st.sampled_from(
    ["", "word", "a sentence. And another one!", "```", "```python", "~~~", "````", "  - item",
     "x" * 90, "| a | b |", "`", "``", "print('hello')", "\t", "ü€😀 wide", "```" + "y" * 60]
)  # fmt: skip
TEXTS = st.one_of(st.lists(LINES, max_size=40).map("\n".join), st.text(max_size=400))
LIMITS = st.integers(SMALLEST_LIMIT, 200)


@given(TEXTS, LIMITS)
def test_no_piece_is_longer_than_the_limit(text, limit):
    """Whatever the text, a platform with this limit takes every piece."""
    assert all(0 < len(piece) <= limit for piece in split(text, limit))


@given(TEXTS, LIMITS)
def test_nothing_but_white_space_and_fence_marks_is_left_out(text, limit):
    """Every word of the text is in exactly one piece, in order."""
    pieces = Splitter(limit).pieces(text)
    places = [0, *(place for piece in pieces for place in (piece.start, piece.end)), len(text)]
    assert places == sorted(places)
    for left_out in (text[a:b] for a, b in zip(places[::2], places[1::2], strict=True)):
        assert not re.sub(r"[\s`~]", "", left_out)


@settings(max_examples=200)
@given(TEXTS, LIMITS, st.data())
def test_while_a_text_grows_only_its_last_piece_changes(text, limit, data):
    """A post that is full stays as it is, however the text arrives."""
    growing = Splitter(limit)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    before: list[str] = []
    for end in [*cuts, len(text)]:
        now = growing.split(text[:end])
        assert len(now) >= len(before)
        full = before[:-1]
        assert now[: len(full)] == full
        before = now
    assert before == split(text, limit)


def test_a_text_that_changes_is_split_anew():
    """A retried answer may differ from what was streamed before."""
    splitter = Splitter(40)
    splitter.split("one " * 30)
    assert splitter.split("two " * 30) == split("two " * 30, 40)


def test_a_code_block_is_closed_and_reopened():
    """Each piece renders by itself, in the language of the block."""
    code = "\n".join(f"print({n})" for n in range(40))
    pieces = split(f"Look:\n\n```python\n{code}\n```\n\nThat was it.", 120)
    assert len(pieces) > 3
    for piece in pieces:
        assert piece.count("```") % 2 == 0
        assert "```python\n```" not in piece
    assert all(p.startswith("```python\n") for p in pieces[1:-1])
    joined = "".join(re.sub(r"```(python\n)?", "", piece) for piece in pieces)
    assert re.findall(r"print\(\d+\)", joined) == code.split("\n")


def test_an_unfinished_block_is_closed_for_now():
    """A post that is edited while code streams in never swallows what is below it."""
    assert split("```sh\nls", 100) == ["```sh\nls\n```"]


def test_paragraphs_are_kept_together():
    """A cut falls between paragraphs where one is near enough."""
    pieces = split("\n\n".join(["one two three four five six seven."] * 6), 100)
    assert all(piece.endswith("seven.") and piece.startswith("one") for piece in pieces)


def test_a_limit_too_small_for_code_is_refused():
    """Better no start than posts that cannot hold their own fences."""
    with pytest.raises(ValueError, match="40"):
        split("x", 10)
