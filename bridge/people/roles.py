"""What somebody may do in the deployment, and the end of it."""

from __future__ import annotations

import sqlalchemy as sa

from bridge.people import access
from bridge.people.access import Person, Role
from bridge.store.schema import channel_member, decider, guest, identity, link, person

ROLES: tuple[Role, ...] = ("operator", "admin", "member")
MOST_SHOWN = 50


def everybody(con: sa.Connection) -> list[Person]:
    """Everybody who was not removed, those in charge first."""
    rank = sa.case({"operator": 0, "admin": 1, "member": 2}, value=person.c.role, else_=3)
    c = person.c
    rows = con.execute(
        sa.select(c.id, c.name, c.role, c.workspace, c.admitted)
        .where(c.role != "removed")
        .order_by(rank, c.name, c.id)
        .limit(MOST_SHOWN)
    )
    return [Person(*row) for row in rows]


def why_not(con: sa.Connection, by: Person, whom: Person, role: Role) -> str:
    """Why `by` cannot make `whom` that; empty where they can. Operators alone make, block and
    remove operators and admins, and the last operator stays."""
    if not by.is_admin:
        return "Only admins and operators can do that."
    if by.role != "operator" and (whom.is_admin or role in access.ADMINS):
        return "Only an operator can do that to an operator or admin, or make one."
    if whom.role == "operator" and role != "operator":
        left = con.scalar(
            sa.select(sa.func.count()).where(person.c.role == "operator", person.c.id != whom.id)
        )
        if not left:
            return "They are the last operator: name another one first."
    return ""


def set_role(con: sa.Connection, whom: Person, role: Role) -> None:
    """Somebody an admin gave a role was let in by a person, whatever let them in before."""
    con.execute(person.update().where(person.c.id == whom.id).values(role=role, admitted="person"))


def end(con: sa.Connection, whom: Person, role: Role) -> tuple[str, ...]:
    """Blocked or removed: they decide nothing, are nobody's guest and have no code. Who was
    removed has no account either, and comes back as a stranger; their workspace stays.

    Gives the workspaces where their answers counted, which the agent service has to know. What
    runs for them, now or by a schedule, is for the caller to end.
    """
    named = list(con.scalars(sa.select(decider.c.workspace).where(decider.c.person == whom.id)))
    for table in (decider, guest, channel_member, link):
        con.execute(table.delete().where(table.c.person == whom.id))
    if role == "removed":
        con.execute(identity.delete().where(identity.c.person == whom.id))
    con.execute(person.update().where(person.c.id == whom.id).values(role=role))
    return (whom.workspace, *named)
