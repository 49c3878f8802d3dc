"""One-time sign-in links: the bot gives one to a person, the web admin burns it.

The token stands in the link's fragment, which no server and no unfurler is ever sent. It is an
itsdangerous value (HMAC-SHA256 with a salt of its own) over version, person, purpose, nonce and
time, made with keys that serve nothing else: who has them can sign in as anybody, and call nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

SECONDS = 600
"""How long a link is good, unless it is used."""
AHEAD = 30
"""Seconds the other clock may be ahead."""
PATH = "sign-in/link"
"""Below PUBLIC_URL."""
VERSION = 1
_SALT = "bascule.sign-in-link.v1"
MIN_KEY_LENGTH = 32


class LinkRefused(Exception):
    """The link is none of ours, or too old. The text is for the person who opened it."""


@dataclass(frozen=True, slots=True)
class SignInLink:
    """Whose link it is. `page` is where it leads: `me` or `claude`."""

    person: str
    nonce: str
    until: float
    page: str


def _serializer(keys: Sequence[str]) -> URLSafeSerializer:
    if not keys or any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise ValueError(f"keys of sign-in links have {MIN_KEY_LENGTH} characters or more")
    return URLSafeSerializer(
        list(keys),
        salt=_SALT,
        # The defaults are SHA-1 and a derivation that only concatenates.
        signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
    )


def make(keys: Sequence[str], person: str, page: str, *, now: float) -> str:
    """A token for this person, with the newest of the keys (oldest to newest)."""
    nonce = secrets.token_urlsafe(16)
    return str(
        _serializer(keys).dumps({"v": VERSION, "p": person, "g": page, "n": nonce, "t": now})
    )


def read(keys: Sequence[str], token: str, *, now: float) -> SignInLink:
    """What a token says. Whether it was used before is for the caller to know. Raises
    `LinkRefused`."""
    try:
        data: Any = _serializer(keys).loads(token[:2000])
    except (BadData, UnicodeError, ValueError):
        raise LinkRefused(
            "That is no sign-in link of this Bascule, or not the whole of it."
        ) from None
    if data["v"] != VERSION or not -AHEAD <= now - data["t"] <= SECONDS:
        raise LinkRefused("This link has expired: they are good for 10 minutes.")
    return SignInLink(data["p"], data["n"], data["t"] + SECONDS, data["g"])
