"""Rules that let whole groups in: a team or server, a channel, a user group or role.

Without any rule nobody is let in by one. They are looked at with each message: who leaves the group
is out at once. A second account of somebody is let in by what let the first one in, for a week
after it last did: an account that is closed writes nothing by which that would be known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from adapters.contract import Address, Identity, Sender
from bridge.people.access import Person, is_account
from bridge.store.database import Database
from bridge.store.schema import access_rule, identity

Kind = Literal["team", "channel", "group"]
KINDS: tuple[Kind, ...] = ("team", "channel", "group")
MOST = 200
VOUCHED_SECONDS = 7 * 86_400.0
"""How long what let one account in counts for the person's others."""
NOTED_SECONDS = 3600.0


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
    return matching(con, sender, at) is not None


def matching(con: sa.Connection, sender: Sender, at: Address) -> Rule | None:
    """A rule that lets this account in, here and now, which lasts until this transaction is over;
    one for a channel only where there is no other."""
    c, who = access_rule.c, sender.identity
    tenants = {who.tenant} if who.tenant else set(sender.groups)
    here = [sa.and_(c.kind == "team", c.value == "")]
    if at.tenant in tenants and not at.direct:
        its = sa.and_(c.kind == "channel", c.value == at.channel, c.tenant == at.tenant)
        here.append(its)
    if sender.groups:
        here.append(sa.and_(c.kind == "group", c.value.in_(sender.groups)))
    query = (
        sa.select(c.id, c.platform, c.tenant, c.kind, c.value)
        .where(c.platform == who.platform, c.tenant.in_(sorted(tenants)), sa.or_(*here))
        .order_by(c.kind == "channel", c.id)
        .limit(1)
        .with_for_update(read=True, key_share=True)
    )
    row = con.execute(query).first()
    return Rule(*row) if row else None


def note(con: sa.Connection, db: Database, who: Identity, found: Rule | None) -> None:
    """What lets this account in now. A rule for a channel counts there alone, for no other
    account."""
    c = identity.c
    if found is None or found.kind == "channel":
        con.execute(
            identity.update()
            .where(is_account(who), c.rule.is_not(None))
            .values(rule=None, rule_at=None)
        )
        return
    fresh = sa.and_(c.rule == found.number, c.rule_at > db.now - NOTED_SECONDS)
    con.execute(
        identity.update()
        .where(is_account(who), sa.or_(c.rule.is_(None), sa.not_(fresh)))
        .values(rule=found.number, rule_at=db.now)
    )


def vouched(con: sa.Connection, db: Database, who: Person, besides: Identity | None) -> bool:
    """Whether an account of somebody, other than `besides`, was let in by a rule of late."""
    c = identity.c
    query = (
        sa.select(c.user)
        .join(access_rule, access_rule.c.id == c.rule)
        .where(c.person == who.id, c.rule_at > db.now - VOUCHED_SECONDS)
    )
    if besides is not None:
        query = query.where(sa.not_(is_account(besides)))
    return con.execute(query.limit(1)).first() is not None


def lets_in(con: sa.Connection, db: Database, who: Person, sender: Sender, at: Address) -> bool:
    """Whether a rule lets somebody in there who was let in by one: this account of theirs, or of
    late another one."""
    return matches(con, sender, at) or vouched(con, db, who, sender.identity)


def could_let_in(con: sa.Connection, accounts: list[Identity]) -> bool:
    """Whether rules might let one of these accounts in: who is in which group is known only when
    they write."""
    c = access_rule.c
    for who in accounts:
        query = sa.select(c.id).where(c.platform == who.platform)
        if who.tenant:
            query = query.where(c.tenant == who.tenant)
        if con.execute(query.limit(1)).first() is not None:
            return True
    return False


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
    # The next rule may get the same number.
    con.execute(identity.update().where(identity.c.rule == number).values(rule=None, rule_at=None))
    return found
