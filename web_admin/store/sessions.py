"""Web sessions: rows that can be revoked. The cookie's value itself is stored nowhere."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from web_admin.store import audit, schema

How = Literal["claim", "password", "link"]
SEEN_EVERY = 60.0
"""Seconds between two notes of when a session was last used."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in. Name, role and workspace are as the bridge told at `told_at`."""

    id: str
    person: str
    name: str
    role: str
    workspace: str
    told_at: float
    csrf: str
    how: str
    address: str
    browser: str
    made_at: float
    seen_at: float
    until: float
    said: str = ""

    @property
    def is_admin(self) -> bool:
        return self.role in ("operator", "admin")


_COLUMNS = [schema.web_session.c[name] for name in Session.__dataclass_fields__]


def _kept(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def begin(
    db: sa.Connection,
    *,
    person: str,
    name: str,
    role: str,
    workspace: str,
    how: How,
    address: str,
    browser: str,
    now: float,
    seconds: float,
) -> str:
    """Sign somebody in; gives the cookie's value, which is new with every sign-in."""
    token = secrets.token_urlsafe(32)
    made = "s_" + secrets.token_hex(8)
    db.execute(schema.web_session.delete().where(schema.web_session.c.until < now))
    db.execute(
        schema.web_session.insert().values(
            sha256=_kept(token),
            id=made,
            person=person,
            name=name,
            role=role,
            workspace=workspace,
            told_at=now,
            csrf=secrets.token_urlsafe(24),
            how=how,
            address=address,
            browser=browser[:200],
            made_at=now,
            seen_at=now,
            until=now + seconds,
        )
    )
    detail = {"how": how, "address": address, "session": made}
    audit.append(db, "session.begun", person, person, detail)
    return token


def find(
    db: sa.Connection, token: str, now: float, idle_seconds: float, *, used: bool = True
) -> Session | None:
    """Whose cookie it is, as long as it is good. `used`: by a person, not by a page that renews
    itself."""
    c = schema.web_session.c
    mine = c.sha256 == _kept(token)
    row = db.execute(sa.select(*_COLUMNS).where(mine)).first()
    if row is None:
        return None
    if row.until <= now or row.seen_at + idle_seconds <= now:
        db.execute(schema.web_session.delete().where(mine))
        return None
    if used and now - row.seen_at > SEEN_EVERY:
        db.execute(schema.web_session.update().where(mine).values(seen_at=now))
    return Session(*row)


def told(db: sa.Connection, person: str, name: str, role: str, workspace: str, at: float) -> None:
    """What the bridge says of a person now, for all their sessions."""
    same = schema.web_session.c.person == person
    values = {"name": name, "role": role, "workspace": workspace, "told_at": at}
    db.execute(schema.web_session.update().where(same).values(**values))


def say(db: sa.Connection, session: str, text: str) -> None:
    """The next page of this session says so, once."""
    same = schema.web_session.c.id == session
    db.execute(schema.web_session.update().where(same).values(said=text[:2000]))


def heard(db: sa.Connection, session: str) -> None:
    """It was said."""
    same = schema.web_session.c.id == session
    db.execute(schema.web_session.update().where(same).values(said=""))


def of_person(db: sa.Connection, person: str) -> list[Session]:
    """The last used first."""
    c = schema.web_session.c
    rows = db.execute(sa.select(*_COLUMNS).where(c.person == person).order_by(c.seen_at.desc()))
    return [Session(*row) for row in rows]


def end(db: sa.Connection, session: str, person: str | None, by: str) -> bool:
    """End one session, if it is this person's (None: anybody's). False where there is none."""
    c = schema.web_session.c
    mine = sa.and_(c.id == session, sa.true() if person is None else c.person == person)
    whose = db.scalar(sa.select(c.person).where(mine))
    if whose is None:
        return False
    db.execute(schema.web_session.delete().where(mine))
    audit.append(db, "session.ended", by, whose, {"session": session})
    return True


def end_all(db: sa.Connection, person: str, by: str, *, but: str = "") -> int:
    """End all sessions of a person, perhaps but one; gives how many there were."""
    c = schema.web_session.c
    gone: Any = db.execute(schema.web_session.delete().where(c.person == person, c.id != but))
    if gone.rowcount:
        audit.append(db, "session.ended_all", by, person, {"sessions": gone.rowcount})
    return int(gone.rowcount)


def known_address(db: sa.Connection, person: str, address: str) -> bool:
    """Whether this person has a session from there."""
    c = schema.web_session.c
    query = sa.select(c.id).where(c.person == person, c.address == address).limit(1)
    return db.scalar(query) is not None
