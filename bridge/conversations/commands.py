"""What a person can tell the bridge itself: `/bascule word`, or `!word`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from adapters.contract import CommandIn
from bridge.conversations import files, governing, places
from bridge.conversations.asked import Asked, Command, Reply
from bridge.people import access
from bridge.store.database import Database
from bridge.store.schema import conversation, is_open, message


def run(
    con: sa.Connection,
    db: Database,
    command: CommandIn,
    stop: Callable[[sa.Connection, Database, Any], bool],
) -> Reply:
    """Carry a command out and say what it did."""
    who = access.meet(con, db, command.sender)
    if refused := access.refusal(who):
        return Reply(refused)
    assert who is not None  # noqa: S101 - a stranger was refused
    found = COMMANDS.get(command.name)
    if found is None:
        near = difflib.get_close_matches(command.name, COMMANDS, 1, cutoff=0.5)
        hint = f"Did you mean `{near[0]}`?" if near else "`help` lists the commands."
        return Reply(f"There is no command `{_quoted(command.name)}`. {hint}")
    home = places.find(con, command.address)
    return found[0](Asked(con, db, command.sender, who, home, command.address, command.rest, stop))


def _help(_asked: Asked) -> Reply:
    lines = [f"- `{name}`: {words}" for name, (_, words) in COMMANDS.items()]
    return Reply("Write what the agent should do, or one of:\n\n" + "\n".join(lines))


def _new(asked: Asked) -> Reply:
    home = asked.home
    if home is None:
        return Reply("Nothing was said here yet: this is a new conversation.")
    if home.owner not in (None, asked.who.id):
        return Reply(places.NOT_YOURS)
    asked.con.execute(
        conversation.update()
        .where(conversation.c.id == home.id)
        .values(agent_conversation=access.mint("a"))
    )
    later = " What was asked before is still answered as it was." if home.pending else ""
    return Reply(f"Your next message starts a new conversation; the files stay.{later}")


def _stop(asked: Asked) -> Reply:
    home = asked.home
    if home is None or not home.pending:
        return Reply("Nothing is going on here; there is nothing to stop.")
    if home.owner != asked.who.id:
        return Reply(places.NOT_YOURS)
    rows = _open_rows(asked.con, home)
    current = rows[0]
    asked.stop(asked.con, asked.db, current)
    what = {
        "queued": "Taken back before it started.",
        "waiting": "The question is withdrawn and its turn ended.",
    }.get(current.status, "Stopping the turn.")
    told = f"{what} {_queued(len(rows) - 1)}".strip()
    if current.status == "queued":
        return Reply(told, taken_back=current.id)
    return Reply(told, stopped=current.id)


def _status(asked: Asked) -> Reply:
    home = asked.home
    if home is None:
        return Reply("Nothing was said here yet.")
    if home.owner not in (None, asked.who.id):
        return Reply(places.NOT_YOURS)
    rows = _open_rows(asked.con, home)
    states = [row.status for row in rows]
    if "waiting" in states:
        now = "The agent waits for your decision."
    elif "running" in states:
        now = "The agent is working."
    elif states:
        now = "Your message waits for a free place."
        return Reply(f"{now} {_queued(len(states) - 1)}".strip())
    else:
        return Reply("Nothing is going on here.")
    return Reply(f"{now} {_queued(states.count('queued'))}".strip())


def _whoami(asked: Asked) -> Reply:
    account = asked.sender.identity
    return Reply(
        f"You are {_quoted(asked.who.name)}, {asked.who.role}. "
        f"This account: {account.platform}, `{_quoted(account.user)}`. "
        f"Your id: `{asked.who.id}`. Your workspace: `{asked.who.workspace}`."
    )


def _governing(command: Callable[[governing.Here], str | governing.Call]) -> Command:
    def run_it(asked: Asked) -> Reply:
        home = asked.home or places.open_or_create(
            asked.con, asked.db, asked.address, owner=asked.who.id
        )
        if home.owner not in (None, asked.who.id):
            return Reply(places.NOT_YOURS)
        words = asked.rest.split()
        here = governing.Here(
            asked.con, asked.db, asked.who, asked.who.workspace, home.agent_conversation, words
        )
        told = command(here)
        return Reply("", call=told) if isinstance(told, governing.Call) else Reply(told)

    return run_it


def _open_rows(con: sa.Connection, home: Any) -> list[Any]:
    """What is not over yet: first the one that a worker has or had, then the queue in order."""
    c = message.c
    query = (
        sa.select(c.id, c.status, c.turn_id, c.conversation)
        .where(c.conversation == home.id, is_open)
        .order_by(sa.case((c.status == "queued", 1), else_=0), c.order, c.id)
    )
    return list(con.execute(query).all())


def _queued(count: int) -> str:
    if not count:
        return ""
    return f"{count} message{'s' if count > 1 else ''} behind it will be taken next."


def _quoted(text: str) -> str:
    """Somebody's text inside ours: it cannot end a code span or call anybody."""
    return text[:80].replace("`", "'").replace("@", "@\u200b").replace("\n", " ")


COMMANDS: dict[str, tuple[Command, str]] = {
    "help": (_help, "this list"),
    "new": (_new, "forget what was said; your files stay"),
    "stop": (_stop, "stop what is running now; what is queued stays queued"),
    "status": (_status, "what is going on here"),
    "mode": (_governing(governing.mode), "what it does unasked: `mode plan`, for example"),
    "rules": (_governing(governing.rules), "what is allowed, asked or denied by a rule"),
    "deciders": (_governing(governing.people), "whose answers count in your workspace"),
    **files.COMMANDS,
    "whoami": (_whoami, "who Bascule takes you for"),
}
