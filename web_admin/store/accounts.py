"""Passwords. Who a person is and what they may is the bridge's to say."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from web_admin.store import audit, schema
from web_admin.store.database import Database

P = ParamSpec("P")
T = TypeVar("T")
SHORTEST, LONGEST = 12, 1000
"""Characters of a password."""
LOGIN_LIMIT = 100
AT_ONCE = 2
"""Each hash takes 64 MiB and a core for some 50 ms."""


class PasswordRefused(Exception):
    """The text says what is wrong with a new name or password."""


@dataclass(frozen=True, slots=True)
class Account:
    person: str
    login: str
    password: str


@dataclass(frozen=True, slots=True)
class NewPassword:
    """A name and a password's hash, to be stored."""

    login: str
    hash: str = field(repr=False)


def login_of(text: str) -> str:
    """A sign-in name as it is stored: upper and lower case are one."""
    return unicodedata.normalize("NFKC", text).strip().casefold()[:LOGIN_LIMIT]


class Accounts:
    """The accounts of one web admin."""

    def __init__(self, database: Database, hasher: PasswordHasher | None = None) -> None:
        self._database = database
        self._hasher = hasher or PasswordHasher()
        self._turns = asyncio.Semaphore(AT_ONCE)
        # Somebody unknown must cost as much time as somebody known.
        self._nobody = self._hasher.hash("nobody has this password")

    async def check(self, login: str, password: str) -> str | None:
        """The person, or None. It takes as long for a name that nobody has."""
        found = await self._database.tx(_by_login, login_of(login))
        stored = found.password if found else self._nobody
        good = len(password) <= LONGEST and await self._hashed(self._verify, stored, password)
        if not good or found is None:
            return None
        if self._hasher.check_needs_rehash(stored):
            fresh = await self._hashed(self._hasher.hash, password)
            await self._database.tx(_rehash, found.person, stored, fresh)
        return found.person

    async def made(self, login: str, password: str) -> NewPassword:
        """A name and a password that will do, for `store`. Raises `PasswordRefused`."""
        name = login_of(login)
        if len(name) < 2 or not name.isprintable() or any(c.isspace() for c in name):
            raise PasswordRefused("The sign-in name needs two characters or more, without spaces.")
        if not SHORTEST <= len(password) <= LONGEST:
            raise PasswordRefused(f"A password needs {SHORTEST} characters or more.")
        if name in password.casefold() or len(set(password)) < 5:
            raise PasswordRefused(
                "That password is too easy to guess. Some words in a row make a good one."
            )
        return NewPassword(name, await self._hashed(self._hasher.hash, password))

    async def store(self, person: str, made: NewPassword, *, by: str) -> None:
        """From now on this person signs in so, and not as before. Raises `PasswordRefused` where
        somebody else has the name."""
        if not await self._database.tx(_set, person, made, by):
            raise PasswordRefused("Somebody else has that sign-in name: choose another one.")

    async def forget(self, person: str, *, by: str) -> None:
        """Nobody signs in as this person by a password any more; the name is free."""
        await self._database.tx(_forget, person, by)

    async def person(self, login: str) -> str:
        """Whose name it is; empty for nobody's."""
        found = await self._database.tx(_by_login, login_of(login))
        return found.person if found else ""

    async def login(self, person: str) -> str:
        """The name a person signs in with; empty where they have none."""
        return await self._database.tx(
            lambda db: (
                db.scalar(
                    sa.select(schema.account.c.login).where(schema.account.c.person == person)
                )
                or ""
            )
        )

    async def any(self) -> bool:
        """Whether anybody can sign in by password."""
        query = sa.select(schema.account.c.person).limit(1)
        return await self._database.tx(lambda db: db.scalar(query)) is not None

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return False

    async def _hashed(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._turns:
            return await asyncio.to_thread(fn, *args, **kwargs)


def _by_login(db: sa.Connection, login: str) -> Account | None:
    c = schema.account.c
    query = sa.select(c.person, c.login, c.password).where(c.login == login)
    row = db.execute(query).first()
    return Account(*row) if row else None


def _rehash(db: sa.Connection, person: str, before: str, fresh: str) -> None:
    c = schema.account.c
    same = sa.and_(c.person == person, c.password == before)
    db.execute(schema.account.update().where(same).values(password=fresh))


def _set(db: sa.Connection, person: str, made: NewPassword, by: str) -> bool:
    c = schema.account.c
    taken = db.scalar(sa.select(c.person).where(c.login == made.login, c.person != person))
    if taken is not None:
        return False
    db.execute(schema.account.delete().where(c.person == person))
    db.execute(
        schema.account.insert().values(
            person=person, login=made.login, password=made.hash, changed_at=time.time()
        )
    )
    audit.append(db, "password.set", by, person, {"login": made.login})
    return True


def _forget(db: sa.Connection, person: str, by: str) -> None:
    mine = schema.account.c.person == person
    if db.execute(schema.account.delete().where(mine)).rowcount:
        audit.append(db, "password.forgotten", by, person)
