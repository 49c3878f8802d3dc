"""What somebody may do in the deployment, and the end of it."""

from __future__ import annotations

import sqlalchemy as sa

from bridge.people import access
from bridge.people.access import Person, Role
from bridge.store.schema import (
    channel_member,
    conversation,
    decider,
    guest,
    identity,
    link,
    person,
)

ROLES: tuple[Role, ...] = ("operator", "admin", "member")
PAGE = 20
"""So many people are shown at once."""


def everybody(con: sa.Connection, page: int = 1, name: str = "") -> tuple[list[Person], int]:
    """(a page of everybody who was not removed, how many that are), those in charge first; with
    `name` those whose name holds it."""
    rank = sa.case({"operator": 0, "admin": 1, "member": 2}, value=person.c.role, else_=3)
    c = person.c
    found = [c.role != "removed"]
    if name:
        found.append(c.name.icontains(name, autoescape=True))
    rows = con.execute(
        sa.select(c.id, c.name, c.role, c.workspace, c.admitted)
        .where(*found)
        .order_by(rank, c.name, c.id)
        .limit(PAGE)
        .offset((page - 1) * PAGE)
    )
    total = con.scalar(sa.select(sa.func.count()).select_from(person).where(*found)) or 0
    return [Person(*row) for row in rows], total


def operators(con: sa.Connection) -> list[str]:
    """The ids of those who run the deployment, which nobody changes until this transaction is
    over: of two who take each other's role away at once, one comes second."""
    query = sa.select(person.c.id).where(person.c.role == "operator").order_by(person.c.id)
    return list(con.scalars(query.with_for_update()).all())


def why_not(con: sa.Connection, by: Person, whom: Person, role: Role) -> str:
    """Why `by` cannot make `whom` that; empty where they can. Operators alone make, block and
    remove operators and admins, and the last operator stays."""
    if not by.is_admin:
        return "Only admins and operators can do that."
    if by.role != "operator" and (whom.is_admin or role in access.ADMINS):
        return "Only an operator can do that to an operator or admin, or make one."
    if whom.role == "operator" and role != "operator" and operators(con) == [whom.id]:
        return "They are the last operator: name another one first."
    if whom.admitted == "host" and role in ("admin", "member"):
        return "They are the owner of this machine, who is always an operator."
    return ""


def set_role(con: sa.Connection, whom: Person, role: Role) -> None:
    """Somebody an admin gave a role was let in by a person, whatever let them in before."""
    con.execute(person.update().where(person.c.id == whom.id).values(role=role, admitted="person"))


def end(con: sa.Connection, whom: Person, role: Role) -> tuple[str, ...]:
    """Blocked or removed: they decide nothing, are nobody's guest, have none and have no code.
    Who was removed has no account either, and comes back as a stranger; their workspace stays.

    Gives the workspaces where their answers counted, which the agent service has to know. What
    runs for them, now or by a schedule, is for the caller to end; `whom` is `access.locked`.
    """
    named = list(con.scalars(sa.select(decider.c.workspace).where(decider.c.person == whom.id)))
    for table in (decider, guest, channel_member, link):
        con.execute(table.delete().where(table.c.person == whom.id))
    theirs = sa.select(conversation.c.id).where(conversation.c.owner == whom.id)
    con.execute(guest.delete().where(guest.c.conversation.in_(theirs)))
    if role == "removed":
        con.execute(identity.delete().where(identity.c.person == whom.id))
    con.execute(person.update().where(person.c.id == whom.id).values(role=role))
    return (whom.workspace, *named)
