"""Growing Markdown, cut where what is before can never change any more."""

from __future__ import annotations

import re
from itertools import pairwise

from markdown_it import MarkdownIt

_PARSER = MarkdownIt("commonmark").enable("table")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def blocks(text: str) -> list[str]:
    """The text's top-level blocks; put together they are the text. The last may still grow."""
    lines = _LINE.findall(text)
    starts = [
        token.map[0] for token in _PARSER.parse(text) if token.level == 0 and token.map is not None
    ]
    starts = sorted(set(starts))
    if not starts:
        return [text] if text else []
    bounds = [0, *starts[1:], len(lines)]
    return ["".join(lines[a:b]) for a, b in pairwise(bounds)]
