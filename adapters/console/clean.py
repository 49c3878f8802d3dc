"""Text from elsewhere, made harmless for a terminal: it can be read, and it can do nothing."""

from __future__ import annotations

import re

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_BAD = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufff9-\ufffb{_BIDI}]")
UNSEEN = "\ufffd"
_ESCAPED = re.compile(
    r"^(`{3,}|~{3,}).*?^\1[`~]*[ \t]*$"  # code keeps its backslashes
    r"|(`+)(?!`).*?(?<!`)\2(?!`)"
    r"|\\([!-/:-@\[-`{-~])",
    re.DOTALL | re.MULTILINE,
)


def clean(text: str) -> str:
    """The text with every control, escape, bidirectional and broken character made visible.

    Line feeds and tabs stay. The first 32 controls become their pictures (`␛`), the rest `�`.
    """
    return _BAD.sub(_picture, text.replace("\r\n", "\n"))


def line(text: str) -> str:
    """The same on one line."""
    return " ".join(clean(text).split())


def unescaped(markdown: str) -> str:
    """Markdown for a person who reads it as plain text: without the backslashes that only keep
    it from meaning something."""
    return _ESCAPED.sub(lambda found: found[3] or found[0], markdown)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else UNSEEN
