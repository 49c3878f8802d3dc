"""Whether a sender is let in. Deny by default: with no person and no rule, nobody is."""

from __future__ import annotations

import sqlalchemy as sa

from adapters.contract import Address, Identity, Sender
from bridge.people import access, rules, strangers
from bridge.people.access import Person
from bridge.store.database import Database

LEFT = (
    "You were let in as one of a group or channel that does not let you in any more, or not here. "
    "Ask an admin of this Bascule."
)


def admit(
    con: sa.Connection, db: Database, sender: Sender, at: Address
) -> tuple[Person | None, str]:
    """(the person, why they are not let in; empty where they are).

    The owner of the machine becomes an operator at once, and one whom a rule lets in a member. A
    stranger is given a code, for an admin.
    """
    who = access.find(con, sender.identity)
    if who is None and sender.host_owner:
        who = access.add(con, db, sender.identity, sender.name, "operator", "host")
        strangers.forget(con, sender.identity)
    if who is None and rules.matches(con, sender, at):
        who = access.add(con, db, sender.identity, sender.name, "member", "rule")
        strangers.forget(con, sender.identity)
    if who is None:
        return None, strangers.ask(con, db, sender)
    if refused := access.refusal(who):
        return who, refused
    if who.admitted == "rule" and not rules.matches(con, sender, at):
        return who, LEFT
    return who, ""


def stands(con: sa.Connection, who: Person, account: Identity) -> bool:
    """Whether somebody is let in while they write nothing. Of the rules only those for a whole
    team or server can say so: who is in a channel or a group is known when they write."""
    if access.refusal(who):
        return False
    if who.admitted != "rule":
        return True
    nowhere = Address(account.platform, account.tenant, "", direct=True)
    return rules.matches(con, Sender(account, who.name), nowhere)
