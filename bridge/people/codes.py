"""Codes that people type: short, easy to read out, and not to be guessed."""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal, TypeAlias

import sqlalchemy as sa

from adapters.contract import Identity
from bridge.store.database import Database
from bridge.store.schema import wrong_code

Purpose: TypeAlias = Literal["claim", "let", "link"]
"""Wrong codes of one purpose hinder no other."""
ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
TRIES_OF_ONE = 5
"""Wrong codes in an hour of one account before none of that purpose is looked at."""
TRIES_OF_STRANGERS = 1000
"""Wrong codes for linking in an hour of all who are not let in, together. There is no such bound
for the claim, whose code has 58 bits, nor for admins: strangers could lock them out by it."""
HOUR = 3600.0
TOO_MANY = "Too many wrong codes were tried. Wait an hour, then try again."


def mint(groups: int) -> str:
    """So many groups of four characters; each group is worth 19 bits."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(groups))


def plain(typed: str) -> str:
    """What somebody typed, as it was minted: without case, spaces and dashes."""
    return "".join(c for c in typed.upper() if c in ALPHABET)[:64]


def kept(typed: str) -> str:
    """What of a secret code is stored: nothing that opens anything."""
    return hashlib.sha256(plain(typed).encode()).hexdigest()


def too_many(
    con: sa.Connection, db: Database, who: Identity, purpose: Purpose, *, most: int | None = None
) -> bool:
    """Whether no code of this account is looked at now; with `most` also where all accounts
    together typed so many wrong ones."""
    c = wrong_code.c
    recent = c.at > db.now - HOUR
    tried = sa.select(sa.func.count()).where(recent)
    if (con.scalar(tried.where(c.account == _account(who, purpose))) or 0) >= TRIES_OF_ONE:
        return True
    if most is None:
        return False
    return (con.scalar(tried.where(c.account.startswith(f"{purpose}:"))) or 0) >= most


def note_wrong(con: sa.Connection, db: Database, who: Identity, purpose: Purpose) -> None:
    """This account typed a code that is none."""
    con.execute(wrong_code.delete().where(wrong_code.c.at < db.now - HOUR))
    con.execute(wrong_code.insert().values(account=_account(who, purpose), at=db.now))


def _account(who: Identity, purpose: Purpose) -> str:
    account = hashlib.sha256(repr((who.platform, who.tenant, who.user)).encode()).hexdigest()
    return f"{purpose}:{account}"
