"""Sign-ins that did not work, so that passwords cannot be tried out.

An address is held back after some, and so is an account, for addresses it has no session from:
whoever tries out an account's password does not lock its owner out where they are signed in.
"""

from __future__ import annotations

import hashlib
import ipaddress

import sqlalchemy as sa

from web_admin.store import schema

WINDOW = 15 * 60.0
OF_ADDRESS, OF_ACCOUNT, OF_ALL = 10, 20, 300
"""Failures within the window, before nothing is looked at any more."""
WAIT = (
    "Too many sign-ins did not work. Wait 15 minutes; or write `web` to the bot, which gives you a "
    "link that works now."
)


def _key(kind: str, value: str) -> str:
    return hashlib.sha256(f"{kind}:{value}".encode()).hexdigest()


def network_of(address: str) -> str:
    """Who holds an IPv6 address holds its whole /64."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 6:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def too_many(
    db: sa.Connection, address: str, login: str, now: float, *, known: bool = False
) -> bool:
    """Whether no sign-in is looked at now. `known`: this account has a session from there."""
    recent = schema.failure.c.at > now - WINDOW
    key = schema.failure.c.key

    def count(*only: sa.ColumnElement[bool]) -> int:
        return db.scalar(sa.select(sa.func.count()).where(recent, *only)) or 0

    if count(key == _key("address", network_of(address))) >= OF_ADDRESS:
        return True
    if known:
        return False
    return count(key == _key("login", login)) >= OF_ACCOUNT or count() >= 2 * OF_ALL


def note(db: sa.Connection, address: str, login: str, now: float) -> None:
    """One did not work."""
    db.execute(schema.failure.delete().where(schema.failure.c.at <= now - WINDOW))
    for key in (_key("address", network_of(address)), _key("login", login)):
        db.execute(schema.failure.insert().values(key=key, at=now))
