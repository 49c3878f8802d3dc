"""Signed calls: who calls, what exactly, when, and once.

`Authorization: Bascule <token>`. The token is an itsdangerous value (HMAC-SHA256 with a salt of
its own) over version, caller, audience, time, nonce, method, path with query, SHA-256 of the raw
body, and a request id for the logs. So a token is good for one request to one service, once,
within five minutes.

    CallRefused
    ├── BadToken        not a token, or no current key of any caller made it
    ├── WrongTime       older than MAX_AGE or further ahead than MAX_AHEAD
    ├── WrongRequest    made for another service, method, path or body
    └── Replayed        its nonce was seen before

The receiver checks in this order: `verify` (signature in constant time, then audience, method and
path, then age), the caller against the route, the size; then it stores the nonce, then it reads
the body and calls `check_body`. Nothing of the body is used before that.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode

SCHEME = "Bascule"
MAX_AGE = 300
"""Seconds a call may be old."""
MAX_AHEAD = 30
"""Seconds a caller's clock may be ahead."""
VERSION = 1
_SALT = "bascule.call.v1"
MIN_KEY_LENGTH = 32


class CallRefused(Exception):
    """The call is not authentic. The text names the check, never a key or the token."""


class BadToken(CallRefused):
    pass


class WrongTime(CallRefused):
    pass


class WrongRequest(CallRefused):
    pass


class Replayed(CallRefused):
    pass


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose signature, target and age are good. Body and nonce are still to be checked."""

    caller: str
    nonce: str
    signed_at: float
    body_sha256: str
    request_id: str

    @property
    def remember_until(self) -> float:
        """How long the nonce must be kept: no token that holds it can be accepted after that."""
        return self.signed_at + MAX_AGE

    def check_body(self, sha256_hex: str) -> None:
        """Raises `WrongRequest` when the body is not the one that was signed."""
        if not hmac.compare_digest(sha256_hex, self.body_sha256):
            raise WrongRequest("the body is not the one that was signed")


def _serializer(keys: Sequence[str]) -> URLSafeSerializer:
    # The defaults are SHA-1 and a derivation that only concatenates: never rely on them.
    return URLSafeSerializer(
        list(keys),
        salt=_SALT,
        signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
    )


def _checked(caller: str, keys: Sequence[str]) -> list[str]:
    if not keys:
        raise ValueError(f"no signing key for {caller}")
    if any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise ValueError(f"a signing key of {caller} is shorter than {MIN_KEY_LENGTH} characters")
    return list(keys)


class Signer:
    """Signs calls of one caller to one audience with the newest of its keys."""

    def __init__(self, caller: str, audience: str, keys: Sequence[str]) -> None:
        """`keys` are oldest to newest. Raises ValueError for none or a short one."""
        self._caller = caller
        self._audience = audience
        self._serializer = _serializer(_checked(caller, keys))

    def header(
        self, method: str, path: str, body: bytes, *, now: float, request_id: str = ""
    ) -> str:
        """The `Authorization` header for exactly this request. `path` is raw, with its query."""
        digest = hashlib.sha256(body).hexdigest()
        return self.header_of(method, path, digest, now=now, request_id=request_id)

    def header_of(
        self, method: str, path: str, body_sha256: str, *, now: float, request_id: str = ""
    ) -> str:
        """The same where the body is too large to hold: by its SHA-256, as hex digits."""
        payload = {
            "v": VERSION,
            "c": self._caller,
            "a": self._audience,
            "t": now,
            "n": secrets.token_urlsafe(16),
            "m": method,
            "p": path,
            "b": body_sha256,
            "r": request_id,
        }
        return f"{SCHEME} {self._serializer.dumps(payload)}"


class Verifier:
    """Checks calls to one audience against one key list a caller."""

    def __init__(self, audience: str, keys: Mapping[str, Sequence[str]]) -> None:
        """`keys` maps a caller to its keys, oldest to newest; any of them is accepted."""
        self._audience = audience
        self._serializers = {c: _serializer(_checked(c, k)) for c, k in keys.items()}

    def verify(self, header: str | None, method: str, path: str, *, now: float) -> Call:
        """The call, or a `CallRefused`. Nothing unsigned is looked at before the signature."""
        scheme, _, token = (header or "").partition(" ")
        if scheme != SCHEME or not token:
            raise BadToken("no signed call in the Authorization header")
        caller, payload = self._open(token)
        if payload["c"] != caller or payload["v"] != VERSION:
            raise BadToken("the token says it is another caller's")
        if payload["a"] != self._audience:
            raise WrongRequest("signed for another service")
        if payload["m"] != method or payload["p"] != path:
            raise WrongRequest("signed for another request")
        age = now - payload["t"]
        if age > MAX_AGE:
            raise WrongTime(f"signed {age:.0f} s ago, {MAX_AGE} s are allowed: check the clocks")
        if age < -MAX_AHEAD:
            raise WrongTime(f"signed {-age:.0f} s in the future: check the clocks")
        return Call(
            caller=caller,
            nonce=payload["n"],
            signed_at=payload["t"],
            body_sha256=payload["b"],
            request_id=payload["r"],
        )

    def _open(self, token: str) -> tuple[str, dict[str, Any]]:
        signature = token.rpartition(".")[2].encode("ascii", "replace")
        try:
            canonical = base64_encode(base64_decode(signature)) == signature
        except BadData:
            canonical = False
        # Base64 has spare bits: without this, a changed last character would still be accepted.
        if not canonical:
            raise BadToken("not a token")
        for caller, serializer in self._serializers.items():
            try:
                payload = serializer.loads(token)
            except (BadData, UnicodeError, ValueError):
                continue
            return caller, payload
        raise BadToken("the signature does not belong to any key in use")
