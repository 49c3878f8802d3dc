"""Whether a sender is let in. Deny by default: with no person and no rule, nobody is."""

from __future__ import annotations

import sqlalchemy as sa
import structlog

from adapters.contract import Address, Identity, Sender
from bridge.conversations import stopping
from bridge.people import access, rules, strangers
from bridge.people.access import Person
from bridge.people.rules import Rule
from bridge.store.database import Database
from bridge.store.schema import person

log = structlog.get_logger()

LEFT = (
    "You were let in as one of a group or channel that does not let you in any more, or not here. "
    "Ask an admin of this Bascule: `people role {id} member` lets you in by name."
)


def admit(
    con: sa.Connection, db: Database, sender: Sender, at: Address
) -> tuple[Person | None, str]:
    """(the person, why they are not let in; empty where they are). What they are does not change
    until this transaction is over.

    The owner of the machine is an operator at once, and one whom a rule lets in a member. A
    stranger is given a code, for an admin.
    """
    who, refused, _ = _admitted(con, db, sender, at)
    return who, refused


def hear(
    con: sa.Connection, db: Database, sender: Sender, at: Address
) -> tuple[Person | None, str]:
    """As `admit`, of somebody who says something at this moment: what the platform says about
    their groups now is kept, and what runs for them ends where no rule lets them ask it any more.

    Not for what was said before: the groups in it are old.
    """
    who, refused, rule = _admitted(con, db, sender, at)
    if who is not None and who.admitted == "rule" and not access.refusal(who):
        rules.note(con, db, sender.identity, rule)
        if refused:
            stopping.end(con, db, stopping.near(con, who.id), now=sender)
    return who, refused


def _admitted(
    con: sa.Connection, db: Database, sender: Sender, at: Address
) -> tuple[Person | None, str, Rule | None]:
    """As `admit`, and the rule that lets this account in, where one is needed."""
    who = access.find(con, sender.identity, hold=True)
    if sender.host_owner:
        who = _in_charge(con, db, sender, who)
    if who is not None and (refused := access.refusal(who)):
        return who, refused, None
    if who is not None and who.admitted != "rule":
        return who, "", None
    rule = rules.matching(con, sender, at)
    if who is not None:
        lets_in = rule is not None or rules.vouched(con, db, who, sender.identity)
        return who, "" if lets_in else LEFT.format(id=who.id), rule
    if rule is None:
        return None, strangers.ask(con, db, sender), None
    strangers.forget(con, sender.identity)
    return access.add(con, db, sender.identity, sender.name, "member", "rule"), "", rule


def standing(con: sa.Connection, db: Database, account: Identity) -> Person | None:
    """Who an account is, where it is let in while it says nothing; None where it is not. Rules
    for groups count as when it last wrote, and those for channels not at all."""
    who = access.find(con, account)
    return who if who is not None and stands(con, db, who, account) else None


def stands(con: sa.Connection, db: Database, who: Person, account: Identity) -> bool:
    """Whether somebody is let in by this account while they say nothing."""
    if access.refusal(who):
        return False
    if who.admitted != "rule" or rules.vouched(con, db, who, None):
        return True
    nowhere = Address(account.platform, account.tenant, "", direct=True)
    return rules.matches(con, Sender(account, who.name), nowhere)


def _in_charge(
    con: sa.Connection, db: Database, sender: Sender, who: Person | None
) -> Person | None:
    if who is None:
        strangers.forget(con, sender.identity)
        return access.add(con, db, sender.identity, sender.name, "operator", "host")
    if who.role == "operator" or access.refusal(who):
        return who
    owner = {"role": "operator", "admitted": "host"}
    con.execute(person.update().where(person.c.id == who.id).values(owner))
    log.info("owner of the machine is an operator", person=who.id)
    return Person(who.id, who.name, "operator", who.workspace, "host")
