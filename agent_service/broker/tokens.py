"""Tokens of sessions: what the CLI holds instead of the credential."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from agent_service.broker.spend import Spend
from agent_service.contract.budgets import Budget

PREFIX = "bsct-"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token was made for, and what it may spend."""

    session: str
    conversation: str
    workspace: str
    cap_usd: float | None = None
    """US dollars for the whole conversation. The answer that crosses it is still delivered, so
    that the overshoot is at most one answer of `max_tokens`."""


@dataclass(slots=True)
class SessionToken:
    """A token in use. It lives in memory only and dies with its session."""

    grant: Grant
    secret: str = field(repr=False)
    spend: Spend
    """The conversation's: it outlives the token."""
    void: bool = False
    turn: str = ""
    person: str = ""
    """Who asked for the turn that uses it now."""
    budgets: tuple[Budget, ...] = ()
    """What that turn may use."""
    credential: str = ""
    """What its last request was made with."""

    @classmethod
    def mint(cls, grant: Grant, spend: Spend | None = None) -> SessionToken:
        """`spend` where something is counted against the grant's cap."""
        return cls(grant, PREFIX + secrets.token_urlsafe(32), spend or Spend())

    def is_mine(self, given: str) -> bool:
        """Compared in constant time."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.secret.encode())
