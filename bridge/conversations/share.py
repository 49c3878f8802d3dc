"""Commands about who takes part: guests of one conversation, members of a channel's workspace, and
a conversation that goes on in another place."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bridge.conversations import sharing, stopping
from bridge.conversations.asked import (
    NOBODY,
    Asked,
    Commands,
    Reply,
    Suggestions,
    Typing,
    first_words,
)
from bridge.conversations.governing import Agent, Call, TellDeciders
from bridge.people import access
from bridge.people.access import Person, shown
from bridge.store.schema import conversation, decider

NOTHING_YET = "Nothing was said here yet: write something first, then share it."
NO_CHANNEL = "That is for a channel: write it there, not in a direct message."
ADMINS_ONLY = "Only an admin can do that."
ELSEWHERE = " It goes on in another place of yours, too: what is said there can be told here."
MOST_LISTED = 10


def _share(asked: Asked) -> Reply:
    """`share`, `share @ann`."""
    home = asked.home
    if home is None:
        return Reply(NOTHING_YET)
    if refused := asked.refusal:
        return Reply(refused)
    if home.workspace is not None:
        return Reply("All members of this channel take part here; `members` lists them.")
    if not asked.words:
        return Reply(_who_takes_part(asked, home.id))
    if home.owner != asked.who.id:
        return Reply("Only the owner of this conversation can share it.")
    whom = asked.whom(asked.words[0])
    if whom is None or access.refusal(whom):
        return Reply(NOBODY)
    if whom.id == asked.who.id:
        return Reply("This conversation is yours already.")
    sharing.invite(asked.con, asked.db, home.id, whom.id, asked.who.id)
    name = shown(whom.name)
    elsewhere = sharing.goes_on_elsewhere(asked.con, home)
    also = ELSEWHERE if elsewhere else ""
    return Reply(
        f"{name} can take part in this conversation from now on. **{name} can then have the agent "
        "read and change every file of your workspace**, not only what was said here. What asks "
        f"is still for you to decide.{also} `unshare {whom.id}` ends it."
    )


def _who_takes_part(asked: Asked, conversation_id: str) -> str:
    invited = sharing.guests(asked.con, conversation_id)
    if not invited:
        return "Nobody else takes part here. `share @somebody` lets them."
    lines = [f"- {shown(one.name)}, `{one.id}`" for one in invited]
    return "These take part here, besides the owner:\n\n" + "\n".join(lines)


def _unshare(asked: Asked) -> Reply:
    """`unshare @ann`."""
    home = asked.home
    if home is None or home.owner != asked.who.id or home.workspace is not None:
        return Reply("Only the owner of a conversation can take that back.")
    whom = asked.whom(asked.words[0]) if asked.words else None
    if whom is None:
        return Reply(NOBODY)
    if not sharing.uninvite(asked.con, home.id, whom.id):
        return Reply(f"{shown(whom.name)} took no part here.")
    ended = stopping.end(asked.con, asked.db, [home.id])
    return Reply(
        f"{shown(whom.name)} takes no part here any more, and what they asked is stopped. What "
        "they read, they have read.",
        ended.stopped,
        ended.taken_back,
    )


def _bind(asked: Asked) -> Reply:
    """`bind`, `bind w_…`."""
    if not asked.who.is_admin:
        return Reply(ADMINS_ONLY)
    at = asked.address
    if at.direct:
        return Reply(NO_CHANNEL)
    now = sharing.workspace_at(asked.con, at)
    if now is not None and not asked.words:
        return Reply(f"This channel works in the workspace `{now}` already; `members` lists whose.")
    workspace = asked.words[0].strip("`") if asked.words else access.mint("w")
    if asked.words and not sharing.is_channels(asked.con, workspace):
        return Reply("No channel has that workspace. A person's own cannot be bound to one.")
    sharing.bind(asked.con, asked.db, at, workspace, asked.who.id)
    ended = stopping.end(asked.con, asked.db, _at_work(asked))
    sharing.add_member(asked.con, asked.db, workspace, asked.who.id, asked.who.id)
    fresh = asked.db.insert(decider).values(
        workspace=workspace, person=asked.who.id, added_by=asked.who.id, added_at=asked.db.now
    )
    asked.con.execute(fresh.on_conflict_do_nothing())
    told = (
        f"New threads of this channel work in a workspace of its own, `{workspace}`, which all its "
        "members share. You are one, and decide there. `members add @somebody` adds more, "
        "`deciders add` in a thread lets them decide. Threads that exist stay as they are."
    )
    call = _told(workspace, asked.who, told)
    return Reply("", ended.stopped, ended.taken_back, call)


def _unbind(asked: Asked) -> Reply:
    if not asked.who.is_admin:
        return Reply(ADMINS_ONLY)
    workspace = sharing.workspace_at(asked.con, asked.address)
    if workspace is None or not sharing.unbind(asked.con, asked.address):
        return Reply("This channel has no workspace of its own.")
    ended = stopping.end(asked.con, asked.db, _at_work(asked))
    return Reply(
        "This channel has no workspace of its own any more: its threads there are closed, and "
        f"what ran in them is stopped. The files stay: `bind {workspace}` takes them up again, "
        "with the threads and members, here or in another channel.",
        ended.stopped,
        ended.taken_back,
    )


def _at_work(asked: Asked) -> set[str]:
    """The conversations of this channel's workspaces, of now and before, where something is not
    over."""
    c, at = conversation.c, asked.address
    here = sa.and_(c.platform == at.platform, c.tenant == at.tenant, c.channel == at.channel)
    return stopping.busy(asked.con, here, c.workspace.is_not(None))


def _members(asked: Asked) -> Reply:
    """`members`, `members add @ann`, `members remove @ann`."""
    workspace = sharing.workspace_at(asked.con, asked.address)
    if workspace is None:
        return Reply("This channel has no workspace of its own; an admin makes one with `bind`.")
    if not asked.words:
        if not asked.who.is_admin and not sharing.is_member(asked.con, workspace, asked.who.id):
            return Reply(sharing.NOT_A_MEMBER.format(id=asked.who.id))
        lines = [f"- {shown(p.name)}, `{p.id}`" for p in sharing.members(asked.con, workspace)]
        return Reply("These share this channel's workspace:\n\n" + "\n".join(lines))
    if not asked.who.is_admin:
        return Reply(ADMINS_ONLY)
    verb, *rest = asked.words
    if verb not in ("add", "remove") or not rest:
        return Reply("Write `members`, `members add @somebody` or `members remove @somebody`.")
    whom = asked.whom(rest[0])
    if whom is None or access.refusal(whom):
        return Reply(NOBODY)
    if verb == "add":
        sharing.add_member(asked.con, asked.db, workspace, whom.id, asked.who.id)
        return Reply(
            f"{shown(whom.name)} takes part in this channel's threads from now on, and can have "
            "the agent read and change every file of its workspace."
        )
    if not sharing.remove_member(asked.con, workspace, whom.id):
        return Reply(f"{shown(whom.name)} was no member.")
    asked.con.execute(
        decider.delete().where(decider.c.workspace == workspace, decider.c.person == whom.id)
    )
    concerned = stopping.busy(asked.con, conversation.c.workspace == workspace)
    ended = stopping.end(asked.con, asked.db, concerned)
    told = (
        f"{shown(whom.name)} takes no part in this channel's threads any more, and what they asked "
        "there is stopped."
    )
    return Reply("", ended.stopped, ended.taken_back, _told(workspace, asked.who, told))


def _told(workspace: str, by: Person, told: str) -> Call:
    async def make(_agent: Agent, tell: TellDeciders) -> str:
        await tell(workspace, by.id)
        return told

    return Call(make)


def _continue(asked: Asked) -> Reply:
    """`continue`, `continue 2`."""
    rows = _elsewhere(asked.con, asked.who, asked.home)
    if not rows:
        return Reply("You have no other conversation to go on with.")
    if not asked.rest:
        lines = [f"{n}. {shown(row.title)} ({row.platform})" for n, row in enumerate(rows, 1)]
        return Reply("`continue 1` goes on here with the first of these:\n\n" + "\n".join(lines))
    if not asked.rest.isdecimal() or not 1 <= int(asked.rest[:4]) <= len(rows):
        return Reply("`continue` lists them; then `continue 1`, for example.")
    if refused := asked.refusal:
        return Reply(refused)
    if sharing.workspace_at(asked.con, asked.address) is not None:
        return Reply("Not here: this channel works in a workspace of its own.")
    home = asked.claimed()
    if home.owner != asked.who.id:
        return Reply("Only in a conversation of your own.")
    chosen = rows[int(asked.rest[:4]) - 1]
    if with_it := [one for one in sharing.guests(asked.con, chosen.id) if one.id != asked.who.id]:
        names = ", ".join(shown(one.name) for one in with_it)
        return Reply(
            f"“{shown(chosen.title)}” is shared with {names}: there they could have the agent tell "
            "what is said here. Write `unshare` there first, or start a new conversation."
        )
    asked.con.execute(
        conversation.update()
        .where(conversation.c.id == home.id)
        .values(
            agent_conversation=chosen.agent_conversation, model=chosen.model, title=chosen.title
        )
    )
    others = [] if asked.address.direct else ["Others here can read what is said from now on."]
    told = f"Here it goes on with “{shown(chosen.title)}”: the agent remembers what was said there."
    return Reply(" ".join([told, *others]))


def _elsewhere(con: sa.Connection, who: Person, home: Any | None) -> list[Any]:
    """A person's other conversations, the last active first."""
    c = conversation.c
    here = home.id if home is not None else ""
    query = (
        sa.select(conversation)
        .where(c.owner == who.id, c.id != here, c.workspace.is_(None), c.title != "")
        .order_by(c.last_active.desc())
        .limit(MOST_LISTED)
    )
    return list(con.execute(query).all())


def _to_continue(typing: Typing) -> list[tuple[str, str]]:
    rows = _elsewhere(typing.con, typing.who, typing.home)
    return [(str(n), f"{shown(row.title)} ({row.platform})") for n, row in enumerate(rows, 1)]


COMMANDS: Commands = {
    "share": (_share, "let somebody take part here: `share @ann`"),
    "unshare": (_unshare, "take that back"),
    "continue": (_continue, "go on here with a conversation from elsewhere"),
    "members": (_members, "who shares this channel's workspace"),
    "bind": (_bind, "give this channel a workspace of its own (admins)"),
    "unbind": (_unbind, "take it away again (admins)"),
}
SUGGESTIONS: Suggestions = {
    "continue": _to_continue,
    "members": first_words("add", "remove"),
}
