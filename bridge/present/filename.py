"""Names of files that people sent, made harmless: they become names in a workspace and words in a
prompt."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container

from agent_service.contract import says_nothing

LONGEST = 120
"""Bytes of a name."""
_KEPT = frozenset(" ._-+,=()")
_LONGEST_ENDING = 12


def safe_name(name: str) -> str:
    """A plain name of at most `LONGEST` bytes: letters, digits and a few marks, no folder, no dot,
    dash or space at its beginning, nothing invisible or of another direction. Never empty."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    plain = "".join(_character(c) for c in last)
    plain = re.sub(r"\.{2,}", ".", re.sub(r"\s+", " ", plain)).lstrip(" .-").rstrip(" .")
    stem, dot, ending = plain.rpartition(".")
    if not dot or not stem or len(ending.encode()) > _LONGEST_ENDING:
        stem, dot, ending = plain, "", ""
    return _joined(stem, f"{dot}{ending}") or "file"


def unique_name(name: str, taken: Container[str]) -> str:
    """The name, or one with a number, whose `folded` form is not taken."""
    stem, dot, ending = name.rpartition(".")
    if not dot or not stem:
        stem, dot, ending = name, "", ""
    made, number = name, 1
    while folded(made) in taken:
        number += 1
        made = _joined(stem, f"-{number}{dot}{ending}")
    return made


def folded(name: str) -> str:
    """What two names have in common that a person, or another system, takes for the same."""
    return unicodedata.normalize("NFKC", name).casefold()


def _character(c: str) -> str:
    if c in _KEPT or c.isspace():
        return c if c in _KEPT else " "
    category = unicodedata.category(c)
    if category[0] == "C" or category in ("Zl", "Zp") or says_nothing(c):
        return ""
    return c if category[0] in "LMN" else "_"


def _joined(stem: str, tail: str) -> str:
    room = LONGEST - len(tail.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(" .") + tail
