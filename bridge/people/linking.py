"""A second account of the same person, agreed on from both sides.

One account asks for a code, the other gives it back and learns whose it is, and the first confirms
which account that was. So neither can be talked into more than they see.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from adapters.contract import Identity, Sender
from bridge.people import access, codes, strangers
from bridge.people.access import ADMINS, Person
from bridge.store.database import Database
from bridge.store.schema import (
    channel_member,
    conversation,
    decider,
    guest,
    identity,
    link,
    person,
)

CODE_SECONDS = 600.0
MOST_ACCOUNTS = 10

WRONG = "That is no code for linking, or it has expired (they last 10 minutes)."
LAST_OPERATOR = "This account alone runs this Bascule: name another operator first (`people role`)."


def begin(con: sa.Connection, db: Database, who: Person) -> str:
    """A code for an account that is to become this person's; the one before is void."""
    con.execute(link.delete().where(sa.or_(link.c.person == who.id, link.c.expires_at <= db.now)))
    code = codes.mint(2)
    con.execute(
        link.insert().values(code=codes.kept(code), person=who.id, expires_at=db.now + CODE_SECONDS)
    )
    return code


def look(con: sa.Connection, db: Database, sender: Sender, typed: str) -> tuple[Person | None, str]:
    """(whose code it is, or why it does not serve this account)."""
    if codes.too_many(con, db, sender.identity):
        return None, codes.TOO_MANY
    row = con.execute(
        sa.select(link).where(link.c.code == codes.kept(typed), link.c.expires_at > db.now)
    ).first()
    whose = None if row is None else access.by_id(con, row.person)
    if row is None or whose is None or access.refusal(whose):
        codes.note_wrong(con, db, sender.identity)
        return None, WRONG
    mine = access.find(con, sender.identity)
    if mine is not None and mine.id == whose.id:
        return None, "This account is yours already; the code is for another one."
    if mine is not None and (refused := access.refusal(mine)):
        return None, refused
    if mine is not None and _alone_in_charge(con, mine):
        return None, LAST_OPERATOR
    if row.user is not None and Identity(row.platform, row.tenant, row.user) != sender.identity:
        return None, "Another account has used this code. Ask for a new one with `link`."
    return whose, ""


def accept(con: sa.Connection, sender: Sender, typed: str) -> None:
    """This account agrees; `look` found nothing against it."""
    who = sender.identity
    con.execute(
        link.update()
        .where(link.c.code == codes.kept(typed))
        .values(platform=who.platform, tenant=who.tenant, user=who.user, name=sender.name[:200])
    )


def agreed(con: sa.Connection, db: Database, who: Person) -> tuple[Identity, str] | None:
    """(the account that used this person's code, its name); None where none did."""
    row = con.execute(
        sa.select(link).where(
            link.c.person == who.id, link.c.user.is_not(None), link.c.expires_at > db.now
        )
    ).first()
    return (Identity(row.platform, row.tenant, row.user), row.name) if row else None


def complete(con: sa.Connection, db: Database, who: Person, account: Identity) -> str:
    """The account is this person's from now on; returns why not, if so.

    What it had as a person of its own stays behind: its workspace, which admins see, and its
    conversations, which begin anew in this person's workspace.
    """
    con.execute(link.delete().where(link.c.person == who.id))
    if len(access.accounts(con, who.id)) >= MOST_ACCOUNTS:
        return f"You have {MOST_ACCOUNTS} accounts already, the most there can be."
    before = access.find(con, account)
    if before is not None:
        if refused := access.refusal(before) or (
            LAST_OPERATOR if _alone_in_charge(con, before) else ""
        ):
            return refused
        con.execute(identity.delete().where(access.is_account(account)))
        if not access.accounts(con, before.id):
            _leave_behind(con, before.id, who.id)
    strangers.forget(con, account)
    access.give_account(con, account, who.id)
    return ""


def remove(con: sa.Connection, who: Person, account: Identity) -> bool:
    """The account is nobody's from now on. False where it is not this person's, or their last."""
    mine = access.accounts(con, who.id)
    if account not in mine or len(mine) == 1:
        return False
    con.execute(identity.delete().where(access.is_account(account)))
    return True


def _alone_in_charge(con: sa.Connection, who: Person) -> bool:
    """Whether nobody would run this deployment without this one account."""
    if who.role != "operator" or len(access.accounts(con, who.id)) > 1:
        return False
    others = sa.select(sa.func.count()).where(person.c.role.in_(ADMINS[:1]), person.c.id != who.id)
    return con.scalar(others) == 0


def _leave_behind(con: sa.Connection, old: str, new: str) -> None:
    mine: list[Any] = list(
        con.scalars(sa.select(conversation.c.id).where(conversation.c.owner == old))
    )
    for key in mine:
        con.execute(
            conversation.update()
            .where(conversation.c.id == key)
            .values(owner=new, agent_conversation=access.mint("a"))
        )
    for table in (decider, guest, channel_member):
        con.execute(table.delete().where(table.c.person == old))
    con.execute(link.delete().where(link.c.person == old))
    con.execute(person.update().where(person.c.id == old).values(role="removed"))
