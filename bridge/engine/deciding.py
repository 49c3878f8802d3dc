"""The buttons of decisions: who may press them is checked here first, and by the agent service."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
import structlog

from adapters.contract import ActionIn
from agent_service.contract import DecisionAnswer, errors
from bridge.agent_client import TRANSIENT, AgentClient, Patience
from bridge.conversations import places, sharing
from bridge.engine.answers import answer_of
from bridge.engine.inbox import remember
from bridge.engine.job import MESSAGE
from bridge.engine.late import LateCards
from bridge.engine.pending import home_of, locked, queue, stop_message
from bridge.engine.problem import problem_with
from bridge.engine.worker import Workers
from bridge.people import access, admission, deciders
from bridge.people.deciders import Deciders
from bridge.store.database import Database
from bridge.store.schema import decision, message, seen

log = structlog.get_logger()

NOT_VALID = "This button is not valid any more."
NOT_A_DECIDER = "Only the owner of this workspace, and people they or an admin named, decide here."
NOT_YOUR_TURN = "Only those who take part in this conversation can have it do something instead."
NOTHING_CHOSEN = "Nothing was chosen or written: press the button again and fill in one of the two."
ONE_MORE = "Noted. One more person has to allow it."
NOT_WAITING = "This was decided already; write it as a message instead."
_ID = re.compile(r"[A-Za-z0-9][\w-]{0,63}", re.ASCII)
Tell = Callable[[str], Awaitable[None]]
STATES = {"allow": "allowed", "deny": "denied", "answer": "answered"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A decision that a button belongs to."""

    id: str
    turn_id: str
    message: int
    conversation: str
    workspace: str
    shown: dict[str, Any]


class Deciding:
    """One a bridge."""

    def __init__(
        self,
        db: Database,
        client: AgentClient,
        workers: Workers,
        told: Deciders,
        late: LateCards,
        *,
        patience: float,
    ) -> None:
        self._db = db
        self._client = client
        self._workers = workers
        self._deciders = told
        self._late = late
        self._patience = patience

    async def act(self, action: ActionIn, rest: str, tell: Tell) -> str:
        """Answer the decision that a button belongs to; gives what its presser is told at last.

        Whose answer does not count is told at once by `tell`. Raises `ServiceError` where that
        could not be noted: the click is to be acted on again then.
        """
        decision_id, _, verb = rest.partition(":")
        refused, asked, person = await self._db.tx(self._asked, action, decision_id, durable=False)
        if asked is None:
            await tell(refused)
            await self._note_unknown(decision_id, action)
            return ""
        if not refused and verb == "instead":
            told = await self._do_instead(action, asked, person)
            if told != NOT_YOUR_TURN:
                return told
            refused = told
        if refused:
            await tell(refused)
            await self._note(asked, action, refused)
            return ""
        answer = answer_of(verb, action.values, asked.shown, person)
        if answer is None:
            return NOTHING_CHOSEN if verb == "answer" else NOT_VALID
        return await self._give(asked, person, answer)

    async def decide_as(self, decision_id: str, person: str, answer: DecisionAnswer) -> str:
        """The same for who answers elsewhere than in the conversation: their rights are a
        button's. Gives what they are told; empty where it counts. Raises `ServiceError`."""

        def look(con: sa.Connection) -> tuple[str, Asked | None]:
            asked = self._row(con, decision_id)
            who = access.by_id(con, person)
            if asked is None or who is None or who.role in access.OUT:
                return NOT_VALID, asked
            return "" if person in deciders.of(con, asked.workspace) else NOT_A_DECIDER, asked

        refused, asked = await self._db.tx(look, durable=False)
        if asked is None:
            raise errors.NotFound("There is no such decision.")
        if refused:
            await self._client.refused(asked.turn_id, asked.id, f"person:{person}", refused)
            raise errors.Forbidden(refused)
        return await self._give(asked, person, answer)

    async def _give(self, asked: Asked, person: str, answer: DecisionAnswer) -> str:
        patience, told_again = Patience(self._patience), False
        while True:
            try:
                if told_again:
                    await self._deciders.tell(asked.workspace, person, again=True)
                view = await self._client.decide(asked.turn_id, asked.id, answer)
            except TRANSIENT as error:
                try:
                    await patience.trouble(error)
                except errors.ServiceError:
                    return f"{error.message} Your answer was not taken: press the button again."
            except errors.Forbidden as error:
                if told_again:
                    return f"{error.message} {error.remedy}".strip()
                # It may have been set up anew, and not know who may decide.
                told_again = True
            except errors.AlreadyDecided as error:
                await self._workers.went_on(asked.turn_id)
                if asked.shown["kind"] == "network":
                    self._late.settle(asked.id)
                return await self._decided(error, person)
            except errors.NotFound:
                return NOT_VALID
            except errors.ServiceError as error:
                return f"{error.message} {error.remedy}".strip()
            else:
                await self._workers.went_on(asked.turn_id)
                return ONE_MORE if view.state == "waiting" else ""

    def _asked(
        self, con: sa.Connection, action: ActionIn, decision_id: str
    ) -> tuple[str, Asked | None, str]:
        """(why the click does not count, what was asked, the person who clicked)."""
        asked = self._row(con, decision_id)
        if asked is None:
            return NOT_VALID, None, ""
        if places.address_of(home_of(con, asked.conversation)) != action.address:
            return NOT_VALID, asked, ""
        who, refused = admission.admit(con, self._db, action.sender, action.address)
        if who is None or refused:
            return refused, asked, who.id if who else ""
        may = who.id in deciders.of(con, asked.workspace)
        return "" if may else NOT_A_DECIDER, asked, who.id

    @staticmethod
    def _row(con: sa.Connection, decision_id: str) -> Asked | None:
        row = con.execute(
            sa.select(decision, message.c.request)
            .join(message, message.c.id == decision.c.message)
            .where(decision.c.id == decision_id)
        ).first()
        if row is None:
            return None
        workspace = str((row.request or {}).get("workspace", ""))
        return Asked(row.id, row.turn_id, row.message, row.conversation, workspace, row.shown)

    async def _note(self, asked: Asked, action: ActionIn, why: str) -> None:
        """A wrong click stands in the agent service's audit log."""
        patience, who = Patience(self._patience), _account(action)
        while True:
            try:
                await self._client.refused(asked.turn_id, asked.id, who, why)
            except TRANSIENT as error:
                await patience.trouble(error)
            except errors.ServiceError as error:
                log.warning("refused click not noted", decision=asked.id, error=str(error))
                return
            else:
                return

    async def _note_unknown(self, decision_id: str, action: ActionIn) -> None:
        """The same for a button of no decision, which may be made up: where it cannot be noted it
        is not kept, since anybody could send more and more of them."""
        who = _account(action)
        log.warning("click on no decision", decision=decision_id[:64], who=who)
        named = decision_id if _ID.fullmatch(decision_id) else "unreadable"
        try:
            await self._client.refused("none", named, who, NOT_VALID)
        except errors.NotFound:
            pass  # noted: that there is none is what it says
        except (*TRANSIENT, errors.ServiceError) as error:
            log.warning("click on no decision not noted", who=who, error=str(error))

    async def _do_instead(self, action: ActionIn, asked: Asked, person: str) -> str:
        if await self._db.tx(_was_queued, action, durable=False):
            # Before a crash, or by another node: what is left is to end the turn.
            self._workers.stop_turn(asked.message)
            self._workers.wake_ready()
            return ""
        try:
            turn = await self._client.turn(asked.turn_id)
        except errors.ServiceError as error:
            return f"{error.message} {error.remedy}".strip()
        if turn.state != "waiting" or turn.decision != asked.id:
            return NOT_WAITING
        told = await self._db.tx(self._instead, action, asked, person)
        if not told:
            self._workers.stop_turn(asked.message)
            self._workers.wake_ready()
        return told

    def _instead(self, con: sa.Connection, action: ActionIn, asked: Asked, person: str) -> str:
        """The turn ends, its call is denied, and what was written comes next."""
        row, home = locked(con, asked.message)
        if row is None or home is None:
            return NOT_VALID
        who = access.by_id(con, person)
        if who is None or sharing.part_of(con, home, who) is None:
            return NOT_YOUR_TURN
        given = " ".join(text for _, texts in action.values for text in texts)
        before = MESSAGE.validate_python(row.payload)
        said, problem = problem_with(
            replace(before, keys=(), sender=action.sender, text=given, attachments=(), quotes=())
        )
        if problem:
            return problem
        if _was_queued(con, action):
            return ""
        if row.stop_asked or not stop_message(con, self._db, row):
            return NOT_WAITING
        remember(con, self._db, [_key(action)])
        queue(con, self._db, home, row.order, MESSAGE.dump_python(said, mode="json"))
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


def _key(action: ActionIn) -> str:
    """Of what a click had done instead, whoever acts on it how often."""
    return f"{action.address.platform}:instead:{action.keys[0]}"


def _was_queued(con: sa.Connection, action: ActionIn) -> bool:
    return con.scalar(sa.select(seen.c.key).where(seen.c.key == _key(action))) is not None


def _account(action: ActionIn) -> str:
    account = action.sender.identity
    return f"{account.platform}:{account.tenant}:{account.user}"
