"""The audit log as operators read it, and the chain that each folder's log is.

A row's hash is the SHA-256 of the hash before it and of the row's own content.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

BEGINNING = "0" * 64
"""What stands for the hash before the first entry."""


def chained(before: str, seq: int, at: float, words: tuple[str, str, str], detail: str) -> str:
    """The hash of an entry: `words` are kind, actor and subject, `detail` its JSON as stored."""
    content = json.dumps([before, seq, at, *words, detail])
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that an operator may have to account for. `hash` covers it and all before it."""

    seq: int
    at: float
    kind: str
    actor: str
    subject: str
    hash: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of a chain found. `problem` is empty where it is whole."""

    entries: int
    head: str
    problem: str = ""
