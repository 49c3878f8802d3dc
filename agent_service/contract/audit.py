"""The audit log as operators read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
