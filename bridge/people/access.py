"""The people a deployment knows, and the accounts they have."""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from adapters.contract import Identity
from bridge.store.database import Database
from bridge.store.schema import identity, person

Role = Literal["operator", "admin", "member", "blocked", "removed"]
Admitted = Literal["host", "claim", "person", "rule"]
"""How somebody was let in: as owner of the machine, by the claim code, by an admin, by a rule."""
ADMINS = ("operator", "admin")
OUT = ("blocked", "removed")
"""Roles of those who are not let in."""

BLOCKED = (
    "An admin has blocked you here, and nothing you write reaches the agent. To be let in again, "
    "ask an admin of this Bascule: `people role {id} member` does it."
)
REMOVED = "You are not let in here any more. Write again to ask for it anew."


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody the deployment knows. `workspace` is theirs alone and never derived from a name."""

    id: str
    name: str
    role: str
    workspace: str
    admitted: str = "person"

    @property
    def is_admin(self) -> bool:
        return self.role in ADMINS


def mint(prefix: str) -> str:
    """A new id that nobody can guess and that holds nothing of what it stands for."""
    return f"{prefix}_{secrets.token_hex(12)}"


_COLUMNS = (person.c.id, person.c.name, person.c.role, person.c.workspace, person.c.admitted)
_FIND = (
    sa.select(*_COLUMNS)
    .join(identity, identity.c.person == person.c.id)
    .where(
        identity.c.platform == sa.bindparam("platform"),
        identity.c.tenant == sa.bindparam("tenant"),
        identity.c.user == sa.bindparam("user"),
    )
)


# Weaker than what a change of the row takes for itself, except for `locked`: whoever writes
# waits for nobody but who ends their access.
_HELD = _FIND.with_for_update(read=True, key_share=True, of=person)


def find(con: sa.Connection, who: Identity, *, hold: bool = False) -> Person | None:
    """The person behind an account, blocked ones included. With `hold` what they are lasts until
    this transaction is over, on every node: `locked` waits for it."""
    account = {"platform": who.platform, "tenant": who.tenant, "user": who.user}
    row = con.execute(_HELD if hold else _FIND, account).first()
    return Person(*row) if row else None


def locked(con: sa.Connection, person_id: str) -> Person | None:
    """Somebody who is about to change. What was begun in their name before is stored once this
    returns, and what begins later waits for this transaction."""
    row = con.execute(
        sa.select(*_COLUMNS).where(person.c.id == person_id).with_for_update()
    ).first()
    return Person(*row) if row else None


def by_id(con: sa.Connection, person_id: str) -> Person | None:
    """Also one who was removed."""
    row = con.execute(sa.select(*_COLUMNS).where(person.c.id == person_id)).first()
    return Person(*row) if row else None


def name_of(con: sa.Connection, person_id: str) -> str:
    """A name for people to read; `somebody` for an unknown id."""
    return con.scalar(sa.select(person.c.name).where(person.c.id == person_id)) or "somebody"


def accounts(con: sa.Connection, person_id: str) -> list[Identity]:
    """A person's accounts, in a stable order."""
    c = identity.c
    rows = con.execute(
        sa.select(c.platform, c.tenant, c.user)
        .where(c.person == person_id)
        .order_by(c.platform, c.tenant, c.user)
    )
    return [Identity(*row) for row in rows]


def add(
    con: sa.Connection,
    db: Database,
    who: Identity,
    name: str,
    role: Role,
    admitted: Admitted = "person",
) -> Person:
    """Let an account in as a person of its own, with a workspace of its own."""
    made = Person(mint("p"), name, role, mint("w"), admitted)
    con.execute(
        person.insert().values(
            id=made.id,
            name=name,
            role=role,
            workspace=made.workspace,
            admitted=admitted,
            created_at=db.now,
        )
    )
    give_account(con, who, made.id)
    return made


def give_account(con: sa.Connection, who: Identity, person_id: str) -> None:
    """The account, which nobody has, is this person's."""
    con.execute(
        identity.insert().values(
            platform=who.platform, tenant=who.tenant, user=who.user, person=person_id
        )
    )


def is_account(who: Identity) -> sa.ColumnElement[bool]:
    """The condition that finds an account's row."""
    c = identity.c
    return sa.and_(c.platform == who.platform, c.tenant == who.tenant, c.user == who.user)


def refusal(who: Person) -> str:
    """What somebody known is told who is not let in; empty for those who are."""
    if who.role == "removed":
        return REMOVED
    return BLOCKED.format(id=who.id) if who.role in OUT else ""


_ID_LIKE = re.compile(r"\b([pw])_(?=\w)", re.IGNORECASE)


def own_name(name: str) -> str:
    """A name that somebody gave themselves, without what looks like one of our ids."""
    return _ID_LIKE.sub(r"\1-", unicodedata.normalize("NFKC", name))


def author(name: str, person_id: str | None) -> str:
    """Whose words something is, as the agent is told: only we write ids."""
    return f"{own_name(name)} ({f'person {person_id}' if person_id else 'nobody known here'})"


def shown(text: str) -> str:
    """Somebody's text inside ours: it cannot end a code span, call anybody, or add a line."""
    return text[:80].replace("`", "'").replace("@", "@\u200b").replace("\n", " ")
