"""Buttons: stored first, then acted on at once; what a button means is looked up, never trusted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
import structlog

from adapters.contract import ActionIn, Adapter, MessageOut, PostRef
from agent_service.contract import errors
from bridge.agent_client import TRANSIENT, AgentClient, Patience
from bridge.conversations import places
from bridge.engine.answers import answer_of
from bridge.engine.delivery import Delivery, Report
from bridge.engine.inbox import remember
from bridge.engine.job import ACTION
from bridge.engine.worker import Workers
from bridge.people import access
from bridge.people.deciders import Deciders
from bridge.store.database import Database
from bridge.store.errors import StoreFull
from bridge.store.schema import click, conversation, decision, message

log = structlog.get_logger()

NOT_VALID = "This button is not valid any more."
NOT_YOURS = "Only the person this conversation belongs to can use this button."
NOTHING_CHOSEN = "Nothing was chosen or written: press the button again and fill in one of the two."
RETRIED = "This was asked again already."
ALREADY_OVER = "This is over already; there is nothing to stop."
STATES = {
    "allow": "allowed",
    "deny": "denied",
    "answer": "answered",
}


class Clicks:
    """The durable buttons. One that a crash interrupted is acted on again at the next start."""

    def __init__(
        self,
        db: Database,
        client: AgentClient,
        workers: Workers,
        adapters: Mapping[str, Adapter],
        deciders: Deciders,
        *,
        report: Report,
        patience: float,
    ) -> None:
        self._db = db
        self._client = client
        self._workers = workers
        self._adapters = adapters
        self._deciders = deciders
        self._report = report
        self._patience = patience
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Go on with what an earlier process left."""
        queued = sa.select(click.c.id, click.c.payload).where(sa.text("click.status = 'queued'"))
        rows = await self._db.tx(lambda con: con.execute(queued).all(), durable=False)
        for row in rows:
            self._begin(row.id, ACTION.validate_python(row.payload))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(self, action: ActionIn) -> bool:
        """Store a click and act on it. False for one that was stored before."""
        made = await self._db.tx(self._store, action)
        if made is not None:
            self._begin(made, action)
        return made is not None

    def _store(self, con: sa.Connection, action: ActionIn) -> int | None:
        keys = [f"{action.address.platform}:action:{key}" for key in action.keys]
        if not remember(con, self._db, keys):
            return None
        access.meet(con, self._db, action.sender)
        payload = ACTION.dump_python(action, mode="json")
        made: int = con.execute(
            click.insert()
            .values(payload=payload, status="queued", at=self._db.now)
            .returning(click.c.id)
        ).scalar_one()
        return made

    def _begin(self, click_id: int, action: ActionIn) -> None:
        task = asyncio.create_task(self._act(click_id, action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _act(self, click_id: int, action: ActionIn) -> None:
        try:
            told = await self._meaning(action)
            if told:
                await self._tell(click_id, action, told)
            done = click.update().where(click.c.id == click_id).values(status="done")
            await self._db.tx(lambda con: con.execute(done).rowcount, durable=False)
        except StoreFull as error:
            log.error("click not finished", error=str(error), remedy=error.remedy)
        except Exception:
            log.exception("click failed", click=click_id)

    async def _meaning(self, action: ActionIn) -> str:
        """Do what the button says; returns what its presser is told, if anything."""
        kind, _, rest = action.action.partition(":")
        if kind == "d":
            return await self._decide(action, rest)
        if kind == "stop" and rest.isdecimal():
            told, status = await self._db.tx(self._stop, action, int(rest[:18]))
            if status == "queued":
                await self._workers.taken_back(int(rest[:18]))
            elif status:
                self._workers.stop_turn(int(rest[:18]))
            return told
        if kind == "retry" and rest.isdecimal():
            told = await self._db.tx(self._retry, action, int(rest[:18]))
            self._workers.wake_ready()
            return told
        return NOT_VALID

    def _refused(self, con: sa.Connection, action: ActionIn, home: Any | None) -> str:
        if home is None or places.address_of(home) != action.address:
            return NOT_VALID
        who = access.find(con, action.sender.identity)
        if refused := access.refusal(who):
            return refused
        return "" if who is not None and who.id == home.owner else NOT_YOURS

    async def _decide(self, action: ActionIn, rest: str) -> str:
        decision_id, _, verb = rest.partition(":")

        def look(con: sa.Connection) -> tuple[str, Any, str]:
            row = con.execute(sa.select(decision).where(decision.c.id == decision_id)).first()
            home = row and _home(con, row.conversation)
            refused = self._refused(con, action, home)
            who = access.find(con, action.sender.identity)
            return refused, row, who.id if who else ""

        refused, row, person = await self._db.tx(look, durable=False)
        if refused:
            return refused
        answer = answer_of(verb, action.values, row.shown, person)
        if answer is None:
            return NOTHING_CHOSEN if verb == "answer" else NOT_VALID
        patience = Patience(self._patience)
        while True:
            try:
                await self._client.decide(row.turn_id, decision_id, answer)
            except TRANSIENT as error:
                try:
                    await patience.trouble(error)
                except errors.ServiceError:
                    return f"{error.message} Your answer was not taken: press the button again."
            except errors.AlreadyDecided as error:
                await self._workers.went_on(row.turn_id)
                return await self._decided(error, person)
            except errors.NotFound:
                return NOT_VALID
            except errors.ServiceError as error:
                return f"{error.message} {error.remedy}".strip()
            else:
                await self._workers.went_on(row.turn_id)
                return ""

    async def _decided(self, error: errors.AlreadyDecided, person: str) -> str:
        by = str(error.fields.get("decided_by", ""))
        outcome = str(error.fields.get("outcome", ""))
        state = STATES.get(outcome, outcome) or "decided"
        if not by:
            return f"This was {state} already."
        if by == person:
            return f"You have {state} this already."
        name = await self._db.tx(access.name_of, by, durable=False)
        return f"This was {state} already by {name}."

    def _stop(self, con: sa.Connection, action: ActionIn, message_id: int) -> tuple[str, str]:
        """(what its presser is told, the status of what was stopped)."""
        row = con.execute(sa.select(message).where(message.c.id == message_id)).first()
        if refused := self._refused(con, action, row and _home(con, row.conversation)):
            return refused, ""
        if row is None or not stop_message(con, self._db, row):
            return ALREADY_OVER, ""
        return "", row.status

    def _retry(self, con: sa.Connection, action: ActionIn, message_id: int) -> str:
        row = con.execute(sa.select(message).where(message.c.id == message_id)).first()
        home = row and _home(con, row.conversation)
        if refused := self._refused(con, action, home):
            return refused
        if row is None or home is None or row.status not in ("failed", "cancelled"):
            return NOT_VALID
        if row.retried_by is not None:
            return RETRIED
        last = con.scalar(
            sa.select(sa.func.max(message.c.order)).where(message.c.conversation == home.id)
        )
        again = con.execute(
            message.insert()
            .values(
                conversation=home.id,
                order=last or row.order,
                payload=row.payload,
                status="queued",
                turn_id=access.mint("t"),
                agent_conversation=home.agent_conversation,
                after_seq=0,
                stop_asked=False,
                state={},
                received_at=self._db.now,
            )
            .returning(message.c.id)
        ).scalar_one()
        con.execute(message.update().where(message.c.id == row.id).values(retried_by=again))
        c = conversation.c
        con.execute(
            conversation.update()
            .where(c.id == home.id)
            .values(
                pending=c.pending + 1,
                ready_at=sa.case((c.pending == 0, self._db.now), else_=c.ready_at),
            )
        )
        return ""

    async def _tell(self, click_id: int, action: ActionIn, text: str) -> None:
        adapter = self._adapters.get(action.address.platform)
        if adapter is None:
            return
        delivery = Delivery(adapter, action.address, known={}, record=_nothing, report=self._report)
        try:
            said = MessageOut(text, only_for=action.sender.identity, tone="notice")
            delivery.show(f"click.{click_id}", said)
            await delivery.flush()
        finally:
            await delivery.close()


def stop_message(con: sa.Connection, db: Database, row: Any) -> bool:
    """Write down that an open message is to be stopped; False when it is over already.

    A queued one is over at once; one that waits for a decision is made ready, so that a worker
    ends it.
    """
    c = conversation.c
    here = conversation.update().where(c.id == row.conversation)
    if row.status == "queued":
        con.execute(
            message.update()
            .where(message.c.id == row.id)
            .values(status="cancelled", done_at=db.now)
        )
        con.execute(here.values(pending=c.pending - 1))
        return True
    if row.status not in ("running", "waiting"):
        return False
    con.execute(message.update().where(message.c.id == row.id).values(stop_asked=True))
    con.execute(
        here.where(c.waiting_turn == row.turn_id).values(waiting_turn=None, ready_at=db.now)
    )
    return True


def _home(con: sa.Connection, conversation_id: str) -> Any:
    return con.execute(sa.select(conversation).where(conversation.c.id == conversation_id)).one()


async def _nothing(_key: str, _ref: PostRef) -> None:
    """A word to one person is never edited: its ref need not be kept."""
