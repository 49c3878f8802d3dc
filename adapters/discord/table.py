"""A table where there are none: columns in a code block, or each row as a short list."""

from __future__ import annotations

import unicodedata

WIDEST = 58
"""Columns of text that a code block shows without wrapping, on most screens."""
_MOST_GROWTH = 1.35
"""A table may become so much longer than it was written; else it stays as it was written."""


def table(rows: list[list[str]], source: str) -> str:
    """The table for people to read; empty where it is best left as it was written."""
    if not rows or not rows[0]:
        return ""
    room = len(source) * _MOST_GROWTH + 16
    widths = [max(_width(row[n]) if n < len(row) else 0 for row in rows)
              for n in range(len(rows[0]))]  # fmt: skip
    if sum(widths) + 3 * (len(widths) - 1) <= WIDEST and not any("`" in c for r in rows for c in r):
        made = _columns(rows, widths)
        if len(made) <= room:
            return made
    made = _list(rows)
    return made if made and len(made) <= room else ""


def _columns(rows: list[list[str]], widths: list[int]) -> str:
    lines = [
        " │ ".join(_padded(cell, width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
    rule = "─┼─".join("─" * width for width in widths)
    return "\n".join(["```", lines[0], rule, *lines[1:], "```"])


def _list(rows: list[list[str]]) -> str:
    """Not for cells that have a meaning of their own outside a table."""
    head, *body = rows
    if any(mark in cell for row in rows for cell in row for mark in "`[]|\\<>"):
        return ""
    lines = []
    for row in body:
        named = [f"**{name}**: {cell}" if name else cell
                 for name, cell in zip(head, row, strict=False) if cell]  # fmt: skip
        lines.append("- " + " · ".join(named))
    return "\n".join(lines)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Columns in a fixed font, nearly."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
