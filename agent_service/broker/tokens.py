"""Tokens of sessions: what the CLI holds instead of the credential."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

PREFIX = "bsct-"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token was made for, and what it may spend."""

    session: str
    conversation: str
    workspace: str
    cap_usd: float | None = None
    """US dollars over the token's life. The answer that crosses it is still delivered, so that
    the overshoot is at most one answer of `max_tokens`."""


@dataclass(slots=True)
class SessionToken:
    """A token in use. It lives in memory only and dies with the service."""

    grant: Grant
    secret: str = field(repr=False)
    spent_usd: float = 0.0
    void: bool = False
    turn: str = ""
    person: str = ""
    """Who asked for the turn that uses it now."""
    credential: str = ""
    """What its last request was made with."""

    @classmethod
    def mint(cls, grant: Grant) -> SessionToken:
        return cls(grant, PREFIX + secrets.token_urlsafe(32))

    def is_mine(self, given: str) -> bool:
        """Compared in constant time."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.secret.encode())

    @property
    def used_up(self) -> bool:
        return self.grant.cap_usd is not None and self.spent_usd >= self.grant.cap_usd
