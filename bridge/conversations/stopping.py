"""Stops what somebody asked who may not ask it any more.

Whatever ends access in part or whole (a removal, a rule, a share, a binding, an account that moves)
changes its rows first, then has the conversations concerned looked at here, in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from adapters.contract import Identity, Sender
from bridge.conversations import sharing
from bridge.engine.job import MESSAGE
from bridge.engine.pending import home_of, stop_message
from bridge.people import access, rules
from bridge.store.database import Database
from bridge.store.schema import (
    channel_member,
    conversation,
    guest,
    identity,
    is_open,
    message,
    person,
)


@dataclass(frozen=True, slots=True)
class Ended:
    """Messages whose turns are to be stopped, and those that had none yet."""

    stopped: tuple[int, ...] = ()
    taken_back: tuple[int, ...] = ()


def asked_by(con: sa.Connection, accounts: Collection[Identity]) -> set[str]:
    """The conversations in which something of these accounts is not over."""
    rows = con.execute(sa.select(message.c.conversation, message.c.payload).where(is_open))
    return {row.conversation for row in rows if sharing.sender_of(row.payload) in accounts}


def let_in_by_rule(con: sa.Connection) -> set[Identity]:
    """The accounts of all people whom a rule let in."""
    c = identity.c
    rows = con.execute(
        sa.select(c.platform, c.tenant, c.user)
        .join(person, person.c.id == c.person)
        .where(person.c.admitted == "rule")
    )
    return {Identity(*row) for row in rows}


def busy(con: sa.Connection, *where: sa.ColumnElement[bool]) -> set[str]:
    """The conversations of which that is true and in which something is not over."""
    c = conversation.c
    return set(con.scalars(sa.select(c.id).where(c.pending > 0, *where)).all())


def near(con: sa.Connection, person_id: str) -> set[str]:
    """The conversations somebody could take part in, in which something is not over."""
    c = conversation.c
    invited = sa.select(guest.c.conversation).where(guest.c.person == person_id)
    member = sa.select(channel_member.c.workspace).where(channel_member.c.person == person_id)
    return busy(con, sa.or_(c.owner == person_id, c.id.in_(invited), c.workspace.in_(member)))


def end(
    con: sa.Connection,
    db: Database,
    conversations: Iterable[str],
    *,
    anew: Collection[str] = (),
    now: Sender | None = None,
) -> Ended:
    """Stop what is not over there and may not be asked any more, as things stand in this
    transaction. In `anew` all is stopped: it was asked of somebody else. Of the account of `now`
    its groups of this moment count, not those of when it asked.

    Conversations are locked one after the other in the order of their ids, as by everybody who
    locks several; workers see it at once by the ids, or else within seconds.
    """
    stopped: list[int] = []
    taken_back: list[int] = []
    for key in sorted(set(conversations)):
        home = home_of(con, key)
        query = sa.select(message).where(message.c.conversation == key, is_open)
        for row in con.execute(query.order_by(message.c.id)).all():
            if key not in anew and _may_ask(con, db, home, row, now):
                continue
            if stop_message(con, db, row):
                (taken_back if row.status == "queued" else stopped).append(row.id)
    return Ended(tuple(stopped), tuple(taken_back))


def _may_ask(con: sa.Connection, db: Database, home: Any, row: Any, now: Sender | None) -> bool:
    try:
        said = MESSAGE.validate_python(row.payload)
    except ValueError:  # damaged: whose it was is not known, so it goes with the conversation
        owner = access.by_id(con, home.owner) if home.owner else None
        return owner is not None and not access.refusal(owner)
    who = access.find(con, said.sender.identity)
    if who is None or access.refusal(who) or sharing.part_of(con, home, who) is None:
        return False
    if row.request and row.request.get("asker", {}).get("person") != who.id:
        return False
    sender = said.sender
    if now is not None and now.identity == sender.identity:
        sender = replace(sender, groups=now.groups)
    return who.admitted != "rule" or rules.lets_in(con, db, who, sender, said.address)
