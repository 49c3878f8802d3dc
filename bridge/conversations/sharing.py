"""Whose a conversation is, who else may take part in it, and in which workspace it works."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import sqlalchemy as sa

from adapters.contract import Address, Identity
from bridge.people import access, deciders
from bridge.people.access import Person
from bridge.store.database import Database
from bridge.store.schema import channel_member, channel_workspace, conversation, guest, person

Part: TypeAlias = Literal["owner", "guest", "member"]
"""`owner` started it in their own workspace, `guest` was invited to it by them, and `member` is of
the channel whose workspace it works in, where all are equal."""

NOT_YOURS = (
    "This conversation belongs to somebody else, and it is not shared with you. "
    "Start one of your own: write to the bot directly, or in a new thread."
)
NOT_A_MEMBER = (
    "This channel works in a workspace of its own, and you are not one of its members. "
    "An admin can add you: `members add {id}`."
)
UNBOUND = "The channel of this conversation has no workspace of its own any more. Start a new one."


def part_of(con: sa.Connection, home: Any, who: Person) -> Part | None:
    """What somebody is in a conversation; None where it is none of their business."""
    if home.workspace is not None:
        bound = bound_to(con, home.platform, home.tenant, home.channel) == home.workspace
        return "member" if bound and is_member(con, home.workspace, who.id) else None
    if home.owner == who.id:
        return "owner"
    # As long as its owner is let in, whose workspace it works in.
    invited = (
        sa.select(person.c.id)
        .join(guest, guest.c.conversation == home.id)
        .where(
            person.c.id == home.owner, person.c.role.not_in(access.OUT), guest.c.person == who.id
        )
        .with_for_update(read=True, key_share=True, of=person)
    )
    return "guest" if con.execute(invited).first() else None


def started_by(person_id: str) -> sa.ColumnElement[bool]:
    """The condition that finds the conversations that somebody started and takes part in still."""
    c, bound, member = conversation.c, channel_workspace.c, channel_member.c
    here = sa.and_(
        bound.workspace == c.workspace,
        bound.platform == c.platform,
        bound.tenant == c.tenant,
        bound.channel == c.channel,
    )
    its_member = (
        sa.select(member.person)
        .join(channel_workspace, here)
        .where(member.workspace == c.workspace, member.person == person_id)
        .correlate(conversation)
        .exists()
    )
    return sa.and_(c.owner == person_id, sa.or_(c.workspace.is_(None), its_member))


def refusal(con: sa.Connection, home: Any, who: Person) -> str:
    """What somebody is told who has no part in a conversation; empty for those who have."""
    if part_of(con, home, who) is not None:
        return ""
    if home.workspace is None:
        return NOT_YOURS
    if bound_to(con, home.platform, home.tenant, home.channel) != home.workspace:
        return UNBOUND
    return NOT_A_MEMBER.format(id=who.id)


def is_theirs(con: sa.Connection, home: Any, who: Person, payload: Any) -> bool:
    """Whether somebody who takes part may stop or repeat a message: it is their own, or they are
    the conversation's owner or decide in its workspace."""
    account = sender_of(payload)
    asker = access.find(con, account) if account is not None else None
    if (asker is not None and asker.id == who.id) or home.owner == who.id:
        return True
    return who.id in deciders.of(con, workspace_of(con, home))


def sender_of(payload: Any) -> Identity | None:
    """Whose account sent a stored message; None where its row is damaged."""
    try:
        account = payload["sender"]["identity"]
        return Identity(account["platform"], account["tenant"], account["user"])
    except (KeyError, TypeError):
        return None


def workspace_of(con: sa.Connection, home: Any) -> str:
    """Where a conversation that somebody owns works."""
    if home.workspace is not None:
        return str(home.workspace)
    return con.scalar(sa.select(person.c.workspace).where(person.c.id == home.owner)) or ""


def is_shared(con: sa.Connection, home: Any) -> bool:
    """Whether anybody but its owner takes part."""
    if home.workspace is not None:
        return True
    # What goes on elsewhere is the same conversation to the agent.
    query = (
        sa.select(guest.c.person)
        .join(conversation, conversation.c.id == guest.c.conversation)
        .where(conversation.c.agent_conversation == home.agent_conversation)
    )
    return con.execute(query.limit(1)).first() is not None


def goes_on_elsewhere(con: sa.Connection, home: Any) -> bool:
    """Whether another place continues the same conversation."""
    c = conversation.c
    query = sa.select(c.id).where(c.agent_conversation == home.agent_conversation, c.id != home.id)
    return con.execute(query.limit(1)).first() is not None


def guests(con: sa.Connection, conversation_id: str) -> list[Person]:
    """Those its owner invited, by name."""
    query = (
        sa.select(guest.c.person)
        .join(person, person.c.id == guest.c.person)
        .where(guest.c.conversation == conversation_id)
        .order_by(person.c.name, person.c.id)
    )
    return [who for key in con.scalars(query).all() if (who := access.by_id(con, key))]


def invite(con: sa.Connection, db: Database, conversation_id: str, whom: str, by: str) -> None:
    """The same again changes nothing."""
    fresh = db.insert(guest).values(
        conversation=conversation_id, person=whom, added_by=by, added_at=db.now
    )
    con.execute(fresh.on_conflict_do_nothing())


def uninvite(con: sa.Connection, conversation_id: str, whom: str) -> bool:
    """Whether they were a guest."""
    gone = guest.delete().where(guest.c.conversation == conversation_id, guest.c.person == whom)
    return con.execute(gone).rowcount > 0


# ---- channels with a workspace of their own ----


def bound_to(con: sa.Connection, platform: str, tenant: str, channel: str) -> str | None:
    """The workspace of a channel, which it keeps until this transaction is over."""
    c = channel_workspace.c
    return con.scalar(
        sa.select(c.workspace)
        .where(c.platform == platform, c.tenant == tenant, c.channel == channel)
        .with_for_update(read=True)
    )


def workspace_at(con: sa.Connection, at: Address) -> str | None:
    """The workspace that new conversations there work in, if it is not their owner's."""
    return None if at.direct else bound_to(con, at.platform, at.tenant, at.channel)


def bind(con: sa.Connection, db: Database, at: Address, workspace: str, by: str) -> None:
    """New conversations of this channel work there from now on."""
    fresh = db.insert(channel_workspace).values(
        platform=at.platform,
        tenant=at.tenant,
        channel=at.channel,
        workspace=workspace,
        bound_by=by,
        bound_at=db.now,
    )
    c = channel_workspace.c
    con.execute(
        fresh.on_conflict_do_update(
            index_elements=[c.platform, c.tenant, c.channel],
            set_={"workspace": fresh.excluded.workspace, "bound_by": by, "bound_at": db.now},
        )
    )


def unbind(con: sa.Connection, at: Address) -> bool:
    """Whether it was bound. Its members stay those of the workspace."""
    c = channel_workspace.c
    gone = channel_workspace.delete().where(
        c.platform == at.platform, c.tenant == at.tenant, c.channel == at.channel
    )
    return con.execute(gone).rowcount > 0


def is_channels(con: sa.Connection, workspace: str) -> bool:
    """Whether a workspace belongs to channels and to nobody alone, also when none has it now."""
    traces: tuple[sa.ColumnElement[str], ...] = (
        channel_workspace.c.workspace,
        channel_member.c.workspace,
        conversation.c.workspace,
    )
    return any(
        con.execute(sa.select(one).where(one == workspace).limit(1)).first() is not None
        for one in traces
    )


def is_member(con: sa.Connection, workspace: str, whom: str) -> bool:
    """It stays so until this transaction is over."""
    c = channel_member.c
    found = sa.select(c.person).where(c.workspace == workspace, c.person == whom)
    return con.execute(found.with_for_update(read=True, key_share=True)).first() is not None


def members(con: sa.Connection, workspace: str) -> list[Person]:
    """By name."""
    query = (
        sa.select(channel_member.c.person)
        .join(person, person.c.id == channel_member.c.person)
        .where(channel_member.c.workspace == workspace)
        .order_by(person.c.name, person.c.id)
    )
    return [who for key in con.scalars(query).all() if (who := access.by_id(con, key))]


def add_member(con: sa.Connection, db: Database, workspace: str, whom: str, by: str) -> None:
    """The same again changes nothing."""
    fresh = db.insert(channel_member).values(
        workspace=workspace, person=whom, added_by=by, added_at=db.now
    )
    con.execute(fresh.on_conflict_do_nothing())


def remove_member(con: sa.Connection, workspace: str, whom: str) -> bool:
    """Whether they were one."""
    c = channel_member.c
    gone = channel_member.delete().where(c.workspace == workspace, c.person == whom)
    return con.execute(gone).rowcount > 0
