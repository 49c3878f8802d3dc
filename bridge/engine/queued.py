"""A word in a conversation in which messages wait, with the way to change that: how many they are,
a button to take each back, and one to do the newest instead of what runs.

There is one word as long as any wait, under the message that came first; it is edited as they come
and go. Its buttons hold for as long as their messages wait, over restarts too. Where a process dies
before the word is said, the next message that waits says it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from adapters.contract import Adapter, Address, Choice, MessageIn, MessageOut, PostRef
from bridge.conversations import places, sharing
from bridge.engine.delivery import Report
from bridge.engine.inbox import message_key
from bridge.engine.pending import home_of
from bridge.engine.say import say
from bridge.people import access
from bridge.store.database import Database
from bridge.store.schema import conversation, is_open, message, post, seen

log = structlog.get_logger()

AFTER_SECONDS = 1.0
"""What waits no longer than that needs no word."""
QUEUED = "Queued: it is taken when what runs now is through."
MANY = "{count} messages wait: they are taken in order when what runs now is through."
STARTED = "Was queued; it has started."
TAKEN_BACK = "Was queued; it was taken back."
NEXT = "What runs is being stopped; the next one comes."
NONE_LEFT = "Nothing waits here any more."
MOST_BUTTONS = 5
"""Messages that can be taken back by a button; where more wait, the newest. As those go, others
have one."""
LONGEST_NAME = 24


@dataclass(frozen=True, slots=True)
class _Word:
    """What the conversation's word is to say now."""

    at: Address
    key: str
    ref: PostRef | None
    out: MessageOut
    over: bool
    """Nothing waits any more: this is the last it says."""


class QueuedNotices:
    """One a bridge process. Calls return at once and never fail."""

    def __init__(self, db: Database, adapters: Mapping[str, Adapter], report: Report) -> None:
        self._db = db
        self._adapters = adapters
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed_in: set[str] = set()
        """Conversations whose word may have to say something else."""
        self._showing: set[str] = set()

    def tell(self, said: MessageIn) -> None:
        """It was stored and something is before it."""
        self._spawn(self._tell(said))

    def tell_not_taken(self, said: MessageIn, text: str) -> None:
        """It was not taken, and its sender alone is told, unless the text is empty."""
        adapter = self._adapters.get(said.address.platform)
        if text and adapter is not None:
            word = MessageOut(text, tone="notice", only_for=said.sender.identity)
            key = f"{message_key(said, said.keys[0])}.fast"
            self._spawn(say(adapter, said.address, key, word, self._report))

    def changed(self, message_id: int) -> None:
        """A message that waited was taken, or taken back, or is to be the next."""
        self._spawn(self._changed(message_id))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - the message itself is in good hands
                log.warning("word about messages that wait failed", error=str(error))

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, said: MessageIn) -> None:
        await asyncio.sleep(AFTER_SECONDS)
        where = await self._db.tx(self._waits, said, durable=False)
        if where is not None:
            await self._show(where)

    def _waits(self, con: sa.Connection, said: MessageIn) -> str | None:
        """The conversation, where the message still waits and its sender may change that. It has
        a word from now on."""
        row = con.execute(
            sa.select(message)
            .join(seen, seen.c.turn_id == message.c.turn_id)
            .where(seen.c.key == message_key(said, said.keys[0]), message.c.status == "queued")
        ).first()
        who = access.find(con, said.sender.identity)
        if row is None or who is None or access.refusal(who):
            return None
        home = home_of(con, row.conversation)
        if sharing.part_of(con, home, who) is None:
            return None
        if home.queued_word is None:
            self._name(con, home.id, f"{row.turn_id}.queued")
        return str(home.id)

    def _name(self, con: sa.Connection, conversation_id: str, key: str | None) -> None:
        here = conversation.update().where(conversation.c.id == conversation_id)
        con.execute(here.values(queued_word=key))

    async def _changed(self, message_id: int) -> None:
        its = (
            sa.select(conversation.c.id)
            .join(message, message.c.conversation == conversation.c.id)
            .where(message.c.id == message_id, conversation.c.queued_word.is_not(None))
        )
        where = await self._db.tx(lambda con: con.scalar(its), durable=False)
        if where is not None:
            await self._show(where)

    async def _show(self, where: str) -> None:
        """However often it changes, one at a time is at it, no faster than the platform bears."""
        self._changed_in.add(where)
        if where in self._showing:
            return
        self._showing.add(where)
        try:
            said: _Word | None = None
            while where in self._changed_in:
                self._changed_in.discard(where)
                word = await self._db.tx(self._word, where, durable=False)
                if word is None or (said and (word.key, word.out) == (said.key, said.out)):
                    continue
                await self._say(where, word)
                said = word
                self._changed_in.add(where)  # it may have changed while it was said
        finally:
            self._showing.discard(where)

    async def _say(self, where: str, word: _Word) -> None:
        adapter = self._adapters.get(word.at.platform)
        if adapter is None:
            return

        async def record(key: str, ref: PostRef) -> None:
            await self._db.tx(self._keep, where, key, ref, durable=False)

        # First: what comes while it is said has a word of its own.
        if word.over and not await self._db.tx(self._end, where, word.key, durable=False):
            return
        known = {} if word.ref is None else {word.key: word.ref}
        if not (word.over and word.ref is None):
            await say(
                adapter, word.at, word.key, word.out, self._report, known=known, record=record
            )
            await asyncio.sleep(adapter.caps.edit_interval)

    def _keep(self, con: sa.Connection, where: str, key: str, ref: PostRef) -> None:
        carrier = sa.select(message.c.id).where(message.c.turn_id == key.removesuffix(".queued"))
        fresh = self._db.insert(post).values(
            key=key, conversation=where, message=con.scalar(carrier), ref=ref.id, at=self._db.now
        )
        con.execute(fresh.on_conflict_do_nothing())

    def _end(self, con: sa.Connection, where: str, key: str) -> bool:
        """The next message that waits has a word of its own. False where one came meanwhile."""
        home = home_of(con, where)
        if home.queued_word == key and not _queued(con, where)[0]:
            self._name(con, where, None)
            return True
        return False

    def _word(self, con: sa.Connection, where: str) -> _Word | None:
        home = con.execute(sa.select(conversation).where(conversation.c.id == where)).one()
        key = home.queued_word
        if key is None:
            return None
        c = message.c
        turn_id = str(key).removesuffix(".queued")
        carrier = con.execute(sa.select(message).where(c.turn_id == turn_id)).first()
        ref = con.scalar(sa.select(post.c.ref).where(post.c.key == key))
        count, newest = _queued(con, where)
        keys = carrier.payload.get("keys") if carrier is not None else None
        out = MessageOut(
            self._text(con, where, carrier, count),
            _choices(count, newest),
            tone="notice",
            answers=str(keys[0]) if keys else "",
        )
        known = None if ref is None else PostRef(ref)
        return _Word(places.address_of(home), key, known, out, over=not count)

    def _text(self, con: sa.Connection, where: str, carrier: Any, count: int) -> str:
        c = message.c
        if not count:
            later = sa.select(c.id).where(c.conversation == where, c.id > carrier.id).limit(1)
            if carrier is None or con.scalar(later) is not None:
                return NONE_LEFT
            return TAKEN_BACK if carrier.status == "cancelled" else STARTED
        stopping = sa.select(c.id).where(
            c.conversation == where, is_open, c.status != "queued", c.stop_asked
        )
        if con.scalar(stopping) is not None:
            return NEXT
        return QUEUED if count == 1 else MANY.format(count=count)


def _queued(con: sa.Connection, where: str) -> tuple[int, list[Any]]:
    """How many wait, and the newest of them, the oldest of those first."""
    c = message.c
    waits = sa.and_(c.conversation == where, is_open, c.status == "queued")
    count = con.scalar(sa.select(sa.func.count()).where(waits)) or 0
    newest = sa.select(c.id, c.payload).where(waits).order_by(c.id.desc()).limit(MOST_BUTTONS)
    return count, list(reversed(con.execute(newest).all())) if count else []


def _choices(count: int, newest: list[Any]) -> tuple[Choice, ...]:
    if not count:
        return ()
    last = newest[-1].id
    if count == 1:
        return (
            Choice(f"instead:{last}", "Stop and do this instead", "danger"),
            Choice(f"stop:{last}", "Take it back"),
        )
    return (
        Choice(f"instead:{last}", "Stop and do the newest instead", "danger"),
        *(Choice(f"stop:{row.id}", f"Take back “{_name_of(row.payload)}”") for row in newest),
    )


def _name_of(payload: Any) -> str:
    """The beginning of what somebody wrote."""
    line = "".join(c if c.isprintable() else " " for c in str(payload.get("text", "")))
    line = " ".join(line.split()) or "a file"
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1].rstrip() + "…"
