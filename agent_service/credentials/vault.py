"""Stored keys at rest: what is in the database is worth nothing without the encryption keys."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

SHORTEST_KEY = 32
_PURPOSE = b"bascule stored credential v1\0"


class VaultLocked(Exception):
    """None of the encryption keys opens it. `remedy` says what an operator can do."""

    remedy = (
        "Put the encryption key that was in use back into the list (oldest first), and start "
        "again. If it is lost, revoke this credential and add it anew."
    )

    def __init__(self) -> None:
        super().__init__("It cannot be read with the encryption keys that are set.")


class Vault:
    """Seals secrets. Keys are oldest to newest: the newest seals, any of them opens."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Raises ValueError for no key or a short one."""
        if not keys or min(map(len, keys)) < SHORTEST_KEY:
            raise ValueError(f"encryption keys of {SHORTEST_KEY} characters or more are needed")
        made = [Fernet(_derived(key)) for key in reversed(keys)]
        self._newest = made[0]
        self._all = MultiFernet(made)

    def seal(self, secret: str, *, owner: str) -> str:
        """The secret as text for a row. It only opens for the same `owner` (the row's id)."""
        return self._newest.encrypt(json.dumps([owner, secret]).encode()).decode()

    def open(self, sealed: str, *, owner: str) -> str:
        """The secret. Raises `VaultLocked`, also for what was sealed for another row."""
        try:
            sealed_for, secret = json.loads(self._all.decrypt(sealed.encode()))
        except InvalidToken:
            raise VaultLocked from None
        if sealed_for != owner:
            raise VaultLocked
        return str(secret)

    def is_current(self, sealed: str) -> bool:
        """Whether the newest key sealed it."""
        try:
            self._newest.decrypt(sealed.encode())
        except InvalidToken:
            return False
        return True


def _derived(key: str) -> bytes:
    # The lines of a key file are random already; this only gives them Fernet's form.
    return base64.urlsafe_b64encode(hashlib.sha256(_PURPOSE + key.encode()).digest())
