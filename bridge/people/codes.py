"""Codes that people type: short, easy to read out, and not to be guessed."""

from __future__ import annotations

import hashlib
import secrets

import sqlalchemy as sa

from adapters.contract import Identity
from bridge.store.database import Database
from bridge.store.schema import wrong_code

ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
TRIES_OF_ONE, TRIES_OF_ALL = 5, 50
"""Wrong codes in an hour, of one account and of all together, before none is looked at."""
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


def too_many(con: sa.Connection, db: Database, who: Identity) -> bool:
    """Whether no code of this account is looked at now."""
    recent = wrong_code.c.at > db.now - HOUR
    total, mine = con.execute(
        sa.select(
            sa.func.count(), sa.func.count().filter(wrong_code.c.account == _account(who))
        ).where(recent)
    ).one()
    return bool(total >= TRIES_OF_ALL or mine >= TRIES_OF_ONE)


def note_wrong(con: sa.Connection, db: Database, who: Identity) -> None:
    """This account typed a code that is none."""
    con.execute(wrong_code.delete().where(wrong_code.c.at < db.now - HOUR))
    con.execute(wrong_code.insert().values(account=_account(who), at=db.now))


def _account(who: Identity) -> str:
    return hashlib.sha256(repr((who.platform, who.tenant, who.user)).encode()).hexdigest()
