"""Rules that let whole groups in: a team or server, a channel, a user group or role.

Without any rule nobody is let in by one. They are looked at with each message: who leaves the group
is out at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from adapters.contract import Address, Sender
from bridge.store.database import Database
from bridge.store.schema import access_rule

Kind = Literal["team", "channel", "group"]
KINDS: tuple[Kind, ...] = ("team", "channel", "group")
MOST = 200


@dataclass(frozen=True, slots=True)
class Rule:
    """`value` is the platform's id of the channel or group; empty for a whole team or server.

    Only accounts of the very `tenant` are let in: nobody of another organisation who happens to be
    in the same channel. An account that belongs to none (`Identity.tenant` is empty) is in those
    that the platform names among its groups.
    """

    number: int
    platform: str
    tenant: str
    kind: str
    value: str


def matches(con: sa.Connection, sender: Sender, at: Address) -> bool:
    """Whether some rule lets this account in, here and now."""
    c, who = access_rule.c, sender.identity
    tenants = {who.tenant} if who.tenant else set(sender.groups)
    here = [sa.and_(c.kind == "team", c.value == "")]
    if at.tenant in tenants and not at.direct:
        its = sa.and_(c.kind == "channel", c.value == at.channel, c.tenant == at.tenant)
        here.append(its)
    if sender.groups:
        here.append(sa.and_(c.kind == "group", c.value.in_(sender.groups)))
    query = sa.select(sa.literal(1)).where(
        c.platform == who.platform, c.tenant.in_(sorted(tenants)), sa.or_(*here)
    )
    return con.execute(query.limit(1)).first() is not None


def all_of(con: sa.Connection) -> list[Rule]:
    """The oldest first."""
    c = access_rule.c
    rows = con.execute(sa.select(c.id, c.platform, c.tenant, c.kind, c.value).order_by(c.id))
    return [Rule(*row) for row in rows]


def add(
    con: sa.Connection, db: Database, platform: str, tenant: str, kind: Kind, value: str, by: str
) -> bool:
    """False where there are too many already. The same rule again changes nothing."""
    if len(all_of(con)) >= MOST:
        return False
    fresh = db.insert(access_rule).values(
        platform=platform, tenant=tenant, kind=kind, value=value, added_by=by, added_at=db.now
    )
    con.execute(fresh.on_conflict_do_nothing())
    return True


def remove(con: sa.Connection, number: int) -> Rule | None:
    """The rule that was taken back; None where there is none of this number."""
    found = next((rule for rule in all_of(con) if rule.number == number), None)
    con.execute(access_rule.delete().where(access_rule.c.id == number))
    return found
