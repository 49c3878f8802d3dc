"""`read N …`: a message that brings what was written before it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import sqlalchemy as sa

from adapters.contract import MessageIn
from bridge.conversations.asked import Asked, Commands, Reply
from bridge.engine.job import MESSAGE
from bridge.engine.pending import queue
from bridge.engine.problem import problem_with
from bridge.engine.reading import MOST
from bridge.store.schema import message

_READ = re.compile(r"\s*[!/]\s*(?:bascule\s+)?read\s+([0-9]{1,9})\s+(\S.*)", re.I | re.S)
USAGE = (
    f"Write `read N` and what to do with them: the last N messages here, at most {MOST}, are "
    "given to the agent as other people's words. `read 20 what did we decide?`"
)


def _read(asked: Asked) -> Reply:
    """`read 20 what did we decide?`"""
    number, _, text = asked.rest.partition(" ")
    if not (number.isascii() and number.isdecimal()) or not text.strip():
        return Reply(USAGE)
    wanted = int(number[:9])
    if not 1 <= wanted <= MOST:
        return Reply(f"1 to {MOST} messages can be read at once.")
    if refused := asked.refusal:
        return Reply(refused)
    home = asked.claimed(title=text)
    newest = sa.select(sa.func.max(message.c.order)).where(message.c.conversation == home.id)
    order = (asked.con.scalar(newest) or 0) + 1
    said, problem = problem_with(
        MessageIn(
            keys=asked.keys,
            address=asked.address,
            sender=asked.sender,
            text=text.strip(),
            order=order,
            sent_at=datetime.now(UTC),
            earlier=wanted,
        )
    )
    if problem:
        return Reply(problem)
    queue(asked.con, asked.db, home, order, MESSAGE.dump_python(said, mode="json"))
    return Reply("It is asked, with what was written here before.", queued=True)


def edited(said: MessageIn, text: str) -> MessageIn:
    """The message that `read` asked, once the one that holds the command has this text."""
    found = _READ.match(text)
    if found is None:
        return replace(said, text=text)
    return replace(said, text=found[2].strip(), earlier=min(max(int(found[1]), 1), MOST))


COMMANDS: Commands = {
    "read": (_read, "ask about what was written here before: `read 20 what did we decide?`"),
}
