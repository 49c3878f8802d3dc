"""A second account of the same person, agreed on from both sides.

One account asks for a code, the other gives it back and learns whose it is, and the first is shown
which account that was before it confirms. So neither can be talked into more than they see.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from adapters.contract import Identity, Sender
from bridge.conversations import stopping
from bridge.conversations.stopping import Ended
from bridge.people import access, codes, roles, strangers
from bridge.people.access import Person
from bridge.store.database import Database
from bridge.store.schema import conversation, identity, link

CODE_SECONDS = 600.0
MOST_ACCOUNTS = 10

WRONG = "That is no code for linking, or it has expired (they last 10 minutes)."
LAST_OPERATOR = "This account alone runs this Bascule: name another operator first (`people role`)."
HOST_OWNER = (
    "This account is of the owner of this machine and always an operator: it cannot become "
    "somebody who is none. The other way round it works: write `link` here, and give that code to "
    "your other account."
)
USED = "Another account has used this code. Ask for a new one with `link`."


@dataclass(frozen=True, slots=True)
class Linked:
    """What an account left behind: what ended, the workspaces where its person's answers counted,
    and the sessions that were theirs."""

    ended: Ended
    workspaces: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()


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
    mine = access.find(con, sender.identity)
    known = mine is not None and not access.refusal(mine)
    most = None if known else codes.TRIES_OF_STRANGERS
    if codes.too_many(con, db, sender.identity, "link", most=most):
        return None, codes.TOO_MANY
    row = con.execute(
        sa.select(link)
        .where(link.c.code == codes.kept(typed), link.c.expires_at > db.now)
        .with_for_update()
    ).first()
    whose = None if row is None else access.by_id(con, row.person)
    if row is None or whose is None or access.refusal(whose):
        codes.note_wrong(con, db, sender.identity, "link")
        return None, WRONG
    if mine is not None and mine.id == whose.id:
        return None, "This account is yours already; the code is for another one."
    if mine is not None and (refused := access.refusal(mine)):
        return None, refused
    if mine is not None and _alone_in_charge(con, mine):
        return None, LAST_OPERATOR
    if sender.host_owner and whose.role != "operator":
        return None, HOST_OWNER
    if row.user is not None and Identity(row.platform, row.tenant, row.user) != sender.identity:
        return None, USED
    return whose, ""


def accept(con: sa.Connection, sender: Sender, typed: str) -> None:
    """This account agrees; `look` found nothing against it in this transaction."""
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


def complete(con: sa.Connection, db: Database, who: Person, account: Identity) -> Linked | str:
    """The account is this person's from now on; or why not.

    What it had as a person of its own stays behind: its workspace, which admins see, and its
    conversations, which begin anew in this person's workspace. What it asked and is not over is
    stopped.
    """
    con.execute(link.delete().where(link.c.person == who.id))
    if len(access.accounts(con, who.id)) >= MOST_ACCOUNTS:
        return f"You have {MOST_ACCOUNTS} accounts already, the most there can be."
    found = access.find(con, account)
    before = access.locked(con, found.id) if found is not None else None
    if before is None:
        strangers.forget(con, account)
        access.give_account(con, account, who.id)
        return Linked(Ended())
    now = access.find(con, account)
    if now is None or now.id != before.id:
        return WRONG
    if refused := access.refusal(before) or (
        LAST_OPERATOR if _alone_in_charge(con, before) else ""
    ):
        return refused
    concerned = stopping.asked_by(con, {account})
    con.execute(identity.delete().where(access.is_account(account)))
    access.give_account(con, account, who.id)
    if access.accounts(con, before.id):
        return Linked(stopping.end(con, db, concerned))
    concerned |= stopping.busy(con, conversation.c.owner == before.id)
    sessions = sessions_of(con, before.id)
    workspaces = roles.end(con, before, "removed")
    moved = _move(con, before.id, who.id)
    return Linked(stopping.end(con, db, concerned, anew=moved), workspaces, sessions)


def remove(con: sa.Connection, db: Database, who: Person, account: Identity) -> Ended | None:
    """The account is nobody's from now on, and what it asked is stopped. None where it is not
    this person's, or their last."""
    access.locked(con, who.id)
    mine = access.accounts(con, who.id)
    if account not in mine or len(mine) == 1:
        return None
    concerned = stopping.asked_by(con, {account})
    con.execute(identity.delete().where(access.is_account(account)))
    return stopping.end(con, db, concerned)


MOST_SESSIONS = 50
"""Conversations whose sessions are closed at once; of older ones none is up any more."""


def sessions_of(con: sa.Connection, person_id: str) -> tuple[str, ...]:
    """What the agent service knows somebody's conversations as, the last active first."""
    c = conversation.c
    mine = sa.select(c.agent_conversation).where(c.owner == person_id)
    return tuple(con.scalars(mine.order_by(c.last_active.desc()).limit(MOST_SESSIONS)).all())


def _alone_in_charge(con: sa.Connection, who: Person) -> bool:
    """Whether nobody would run this deployment without this one account."""
    if who.role != "operator" or len(access.accounts(con, who.id)) > 1:
        return False
    return roles.operators(con) == [who.id]


def _move(con: sa.Connection, old: str, new: str) -> list[str]:
    """Somebody's conversations are another's, and new ones to the agent; gives which."""
    c = conversation.c
    mine = list(con.scalars(sa.select(c.id).where(c.owner == old)).all())
    for key in mine:
        con.execute(
            conversation.update()
            .where(c.id == key)
            .values(owner=new, agent_conversation=access.mint("a"))
        )
    return mine
