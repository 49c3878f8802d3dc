"""Who a sender is, and whether they are let in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from adapters.contract import Identity, Sender
from bridge.store.database import Database
from bridge.store.schema import identity, person

Role = Literal["operator", "admin", "member", "blocked"]

NOT_LET_IN = (
    "You are not let in yet. Ask an operator of this Bascule to let you in; "
    "until then nothing you write here reaches the agent."
)
BLOCKED = "An operator has blocked you here. Nothing you write reaches the agent."


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody the deployment knows. `workspace` is theirs alone and never derived from a name."""

    id: str
    name: str
    role: str
    workspace: str


def mint(prefix: str) -> str:
    """A new id that nobody can guess and that holds nothing of what it stands for."""
    return f"{prefix}_{secrets.token_hex(12)}"


_FIND = (
    sa.select(person.c.id, person.c.name, person.c.role, person.c.workspace)
    .join(identity, identity.c.person == person.c.id)
    .where(
        identity.c.platform == sa.bindparam("platform"),
        identity.c.tenant == sa.bindparam("tenant"),
        identity.c.user == sa.bindparam("user"),
    )
)


def find(con: sa.Connection, who: Identity) -> Person | None:
    """The person behind an account, blocked ones included."""
    account = {"platform": who.platform, "tenant": who.tenant, "user": who.user}
    row = con.execute(_FIND, account).first()
    return Person(*row) if row else None


def name_of(con: sa.Connection, person_id: str) -> str:
    """A name for people to read; `somebody` for an unknown id."""
    return con.scalar(sa.select(person.c.name).where(person.c.id == person_id)) or "somebody"


def meet(con: sa.Connection, db: Database, sender: Sender) -> Person | None:
    """The person, or None for a stranger. The owner of the host becomes an operator at once."""
    known = find(con, sender.identity)
    if known is not None or not sender.host_owner:
        return known
    return add(con, db, sender.identity, sender.name, "operator")


def add(con: sa.Connection, db: Database, who: Identity, name: str, role: Role) -> Person:
    """Let an account in as a person of its own, with a workspace of its own."""
    made = Person(mint("p"), name, role, mint("w"))
    con.execute(
        person.insert().values(
            id=made.id, name=name, role=role, workspace=made.workspace, created_at=db.now
        )
    )
    con.execute(
        identity.insert().values(
            platform=who.platform, tenant=who.tenant, user=who.user, person=made.id
        )
    )
    return made


def refusal(who: Person | None) -> str:
    """What a sender is told who is not let in; empty for those who are."""
    if who is None:
        return NOT_LET_IN
    return BLOCKED if who.role == "blocked" else ""
