"""What a person can tell the bridge itself: `/bascule word`, or `!word`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from adapters.contract import Address, CommandIn
from agent_service.contract import MODE_WORDS, MODES
from bridge.budgets import commands as budgeting
from bridge.budgets import pace
from bridge.budgets.budgets import Budgets
from bridge.conversations import earlier, files, governing, named, places, share, sharing
from bridge.conversations.asked import (
    Asked,
    Command,
    Commands,
    Reply,
    Suggestions,
    Typing,
    first_words,
)
from bridge.people import access, admission, deciders, web
from bridge.people import commands as people
from bridge.people.access import Person, shown
from bridge.schedules import commands as schedules
from bridge.schedules.timetable import Timetable
from bridge.store.database import Database
from bridge.store.schema import conversation, is_open, message

UNLIMITED = frozenset({"stop"})
"""However fast somebody writes, this is heard."""
TOO_FAST = "Not taken either: wait a moment."
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/\[\]@-]{0,199}")


def run(
    con: sa.Connection,
    db: Database,
    command: CommandIn,
    stop: Callable[[sa.Connection, Database, Any], bool],
    timetable: Timetable,
    budgets: Budgets,
) -> Reply:
    """Carry a command out and say what it did."""
    if (opened := people.FOR_STRANGERS.get(command.name)) is not None:
        told = opened(con, db, command)
        if told is not None:
            return Reply(told)
    who, refused = admission.hear(con, db, command.sender, command.address)
    if who is None or refused:
        return Reply(refused)
    if fast := _too_fast(con, db, command, who, budgets):
        return Reply(fast)
    found = COMMANDS.get(command.name)
    if found is None or (command.name in people.FOR_ADMINS and not who.is_admin):
        known = [name for name in COMMANDS if who.is_admin or name not in people.FOR_ADMINS]
        near = difflib.get_close_matches(command.name, known, 1, cutoff=0.5)
        hint = f"Did you mean `{near[0]}`?" if near else "`help` lists the commands."
        return Reply(f"There is no command `{shown(command.name)}`. {hint}")
    home = places.enter(con, db, command.address, who)
    asked = Asked(
        con,
        db,
        command.sender,
        who,
        home,
        command.address,
        command.rest,
        budgets,
        stop,
        command.people,
        command.keys,
        timetable=timetable,
    )
    return found[0](asked)


def _too_fast(
    con: sa.Connection, db: Database, command: CommandIn, who: access.Person, budgets: Budgets
) -> str:
    """What somebody is told who writes too many commands; empty for all others."""
    most = budgets.rules.commands
    if not most or command.name in UNLIMITED or command.sender.host_owner:
        return ""
    fast = pace.check(con, db, who.id, "command", most, budgets.clock())
    return "" if fast is None else fast.told or TOO_FAST


def _help(asked: Asked) -> Reply:
    lines = [
        f"- `{name}`: {words}"
        for name, (_, words) in COMMANDS.items()
        if asked.who.is_admin or name not in people.FOR_ADMINS
    ]
    return Reply("Write what the agent should do, or one of:\n\n" + "\n".join(lines))


def _new(asked: Asked) -> Reply:
    home = asked.home
    if home is None:
        return Reply("Nothing was said here yet: this is a new conversation.")
    if refused := asked.refusal:
        return Reply(refused)
    if sharing.part_of(asked.con, home, asked.who) == "guest":
        return Reply("Only the owner of this conversation can begin it anew.")
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
    if (refused := asked.refusal) and not asked.who.is_admin:
        return Reply(refused)
    rows = _open_rows(asked.con, home)
    current = rows[0]
    theirs = sharing.is_theirs(asked.con, home, asked.who, current.payload)
    if not theirs and not asked.who.is_admin:
        return Reply("Somebody else asked for what runs here: they, or the owner, can stop it.")
    asked.stop(asked.con, asked.db, current)
    what = {
        "queued": "Taken back before it started.",
        "waiting": "The question is withdrawn and its turn ended.",
    }.get(current.status, "Stopping the turn.")
    told = f"{what} {_queued(len(rows) - 1)}".strip()
    if current.status == "queued":
        return Reply(told, taken_back=(current.id,))
    return Reply(told, stopped=(current.id,))


def _status(asked: Asked) -> Reply:
    home = asked.home
    if home is None:
        return Reply("Nothing was said here yet.")
    if refused := asked.refusal:
        return Reply(refused)
    rows = _open_rows(asked.con, home)
    states = [row.status for row in rows]
    if "waiting" in states:
        now = "The agent waits for a decision."
    elif "running" in states:
        now = "The agent is working."
    elif states:
        now = "Your message waits for a free place."
        return Reply(f"{now} {_queued(len(states) - 1)}".strip())
    else:
        return Reply("Nothing is going on here.")
    return Reply(f"{now} {_queued(states.count('queued'))}".strip())


def _model(asked: Asked) -> Reply:
    """`model`, `model NAME`, `model reset`."""
    if refused := asked.refusal:
        return Reply(refused)
    home = asked.claimed()
    if not asked.rest:
        now = f"`{home.model}`" if home.model else "the deployment's own choice"
        return Reply(f"The model here is {now}. `model NAME` chooses one, `model reset` undoes it.")
    if asked.who.id not in deciders.of(asked.con, sharing.workspace_of(asked.con, home)):
        return Reply(governing.NOT_A_DECIDER)
    wanted = None if asked.rest == "reset" else asked.rest
    if wanted is not None and not _MODEL.fullmatch(wanted):
        return Reply("That is no name of a model. One looks like `claude-sonnet-4-5` or `opus`.")
    asked.con.execute(
        conversation.update().where(conversation.c.id == home.id).values(model=wanted)
    )
    if wanted is None:
        return Reply("From the next message on the deployment chooses the model here.")
    return Reply(
        f"From the next message on the model here is `{wanted}`. Whether it may be used, the "
        "deployment decides; if not, the next answer says so."
    )


def _whoami(asked: Asked) -> Reply:
    mine = asked.sender.identity
    others = [each for each in access.accounts(asked.con, asked.who.id) if each != mine]
    more = "".join(f" Also yours: {each.platform}, `{shown(each.user)}`." for each in others)
    return Reply(
        f"You are {shown(asked.who.name)}, {asked.who.role}. "
        f"This account: {mine.platform}, `{shown(mine.user)}`.{more} "
        f"Your id: `{asked.who.id}`. Your workspace: `{asked.who.workspace}`."
    )


def _governing(command: Callable[[governing.Here], str | governing.Call]) -> Command:
    def run_it(asked: Asked) -> Reply:
        if refused := asked.refusal:
            return Reply(refused)
        home = asked.claimed()
        workspace = sharing.workspace_of(asked.con, home) or asked.who.workspace
        here = governing.Here(asked.con, asked.who, workspace, home.agent_conversation, asked.words)
        told = command(here)
        return Reply("", call=told) if isinstance(told, governing.Call) else Reply(told)

    return run_it


def _open_rows(con: sa.Connection, home: Any) -> list[Any]:
    """What is not over yet: first the one that a worker has or had, then the queue in order."""
    c = message.c
    query = (
        sa.select(c.id, c.status, c.turn_id, c.conversation, c.payload)
        .where(c.conversation == home.id, is_open)
        .order_by(sa.case((c.status == "queued", 1), else_=0), c.order, c.id)
    )
    return list(con.execute(query).all())


def _queued(count: int) -> str:
    if not count:
        return ""
    return f"{count} message{'s' if count > 1 else ''} behind it will be taken next."


COMMANDS: Commands = {
    "help": (_help, "this list"),
    "new": (_new, "forget what was said; your files stay"),
    "stop": (_stop, "stop what is running now; what is queued stays queued"),
    "status": (_status, "what is going on here"),
    "mode": (_governing(governing.mode), "what it does unasked: `mode plan`, for example"),
    "model": (_model, "which model answers here"),
    "rules": (_governing(governing.rules), "what is allowed, asked or denied by a rule"),
    "two-people": (_governing(governing.two_people), "what two different people have to allow"),
    **named.COMMANDS,
    **earlier.COMMANDS,
    **files.COMMANDS,
    **schedules.COMMANDS,
    **share.COMMANDS,
    **budgeting.COMMANDS,
    **web.COMMANDS,
    "whoami": (_whoami, "who Bascule takes you for"),
    **people.COMMANDS,
}


def _modes(_: Typing) -> list[tuple[str, str]]:
    named = [(name, f"{name}: it {MODE_WORDS[name]}") for name in MODES]
    return [*named, ("reset", "reset: no mode of its own here")]


SUGGESTIONS: Suggestions = {
    "mode": _modes,
    "model": first_words("reset"),
    "rules": first_words("list", "allow", "ask", "deny", "remove", "here allow", "here deny"),
    "two-people": first_words("list", "add", "remove"),
    "deciders": first_words("add", "remove"),
    **files.SUGGESTIONS,
    **share.SUGGESTIONS,
    **people.SUGGESTIONS,
}


def suggest(
    con: sa.Connection, who: Person, at: Address, name: str, typed: str
) -> list[tuple[str, str]]:
    """What may follow the command where `typed` was written so far."""
    found = SUGGESTIONS.get(name)
    if found is None or (name in people.FOR_ADMINS and not who.is_admin):
        return []
    typed = typed.strip().lower()
    pairs = found(
        Typing(con, who, con.execute(sa.select(conversation).where(places.at(at))).first())
    )
    return [(rest, label) for rest, label in pairs
            if rest.lower().startswith(typed) or typed in label.lower()]  # fmt: skip
