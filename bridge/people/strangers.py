"""Accounts that wrote and are not let in: each has a code by which an admin lets it in."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from adapters.contract import Identity, Sender
from bridge.people import access, codes
from bridge.people.access import Person
from bridge.store.database import Database
from bridge.store.schema import stranger

CODE_SECONDS = 7 * 86_400.0
MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody who asked to be let in."""

    name: str
    account: Identity
    code: str


def ask(con: sa.Connection, db: Database, sender: Sender) -> str:
    """What a stranger is told: the same code until it expires."""
    c, who = stranger.c, sender.identity
    code = con.scalar(sa.select(c.code).where(_is(who), c.expires_at > db.now))
    if code is None:
        code = codes.mint(2)
        con.execute(stranger.delete().where(c.expires_at <= db.now))
        con.execute(
            stranger.insert().values(
                platform=who.platform,
                tenant=who.tenant,
                user=who.user,
                name=sender.name[:200],
                code=code,
                expires_at=db.now + CODE_SECONDS,
            )
        )
    return (
        f"You are not let in yet. Ask an admin of this Bascule, and give them this code: `{code}`. "
        f"They write `people let {code}` to me. Until then nothing you write reaches the agent."
    )


def waiting(con: sa.Connection, db: Database) -> list[Waiting]:
    """Who asked last, the newest first."""
    c = stranger.c
    rows = con.execute(
        sa.select(c.name, c.platform, c.tenant, c.user, c.code)
        .where(c.expires_at > db.now)
        .order_by(c.expires_at.desc())
        .limit(MOST_SHOWN)
    )
    return [Waiting(r.name, Identity(r.platform, r.tenant, r.user), r.code) for r in rows]


def let_in(con: sa.Connection, db: Database, typed: str) -> tuple[Person, Identity] | None:
    """The stranger with this code is a member from now on; None where nobody has it."""
    c = stranger.c
    code = codes.plain(typed)
    row = con.execute(
        sa.select(stranger).where(sa.func.replace(c.code, "-", "") == code, c.expires_at > db.now)
    ).first()
    if row is None:
        return None
    account = Identity(row.platform, row.tenant, row.user)
    known = access.find(con, account)
    forget(con, account)
    return known or access.add(con, db, account, row.name, "member"), account


def forget(con: sa.Connection, who: Identity) -> None:
    """It is no stranger any more."""
    con.execute(stranger.delete().where(_is(who)))


def _is(who: Identity) -> sa.ColumnElement[bool]:
    c = stranger.c
    return sa.and_(c.platform == who.platform, c.tenant == who.tenant, c.user == who.user)
