"""What becomes of a turn whose service, or whose agent, stopped in the middle of it.

A call that was allowed and not yet let go is let go later, as if nothing had happened; a denial
that the agent has not heard is told it later. One that was let go, and whose end is not known, is
asked about again: it never runs a second time by itself. Any other turn ends as interrupted.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import sqlalchemy as sa
import structlog

from agent_service.contract.events import DecisionRequested, TurnWaiting
from agent_service.store import conversations, decisions, turns
from agent_service.store.database import Database
from agent_service.store.decisions import StoredDecision
from agent_service.store.turns import StoredTurn
from agent_service.turns.ends import LOST, Ends
from agent_service.turns.log import TurnLog

_log = structlog.get_logger(__name__)

STARTED = "It was allowed and started before, and how it ended is not known."


class Interruptions:
    """One a service."""

    def __init__(
        self,
        database: Database,
        ends: Ends,
        *,
        decision_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._ends = ends
        self._decision_seconds = decision_seconds
        self._clock = clock

    async def settle(self, log: TurnLog) -> Literal["queued", "waiting", "finished"]:
        """Settle a turn that ran when the service stopped. Afterwards the log is closed."""
        turn, decision = await self._database.tx(self._look, log.turn_id)
        if turn.state == "waiting":  # it came that far
            log.close()
            return "waiting"
        if decision is not None:
            if await self._database.tx(_unheard, decision):
                await self._database.tx(turns.move, turn.id, "queued", decision=decision.id)
                log.close()
                return "queued"
            if decision.released and not decision.executed:
                await self._ask_again(log, turn, decision)
                return "waiting"
        await self._ends.finish(log, LOST)
        return "finished"

    async def left_open(self, log: TurnLog) -> bool:
        """Where the agent alone stopped: whether a call that was let go is now asked about
        again. Then the log is closed; else nothing was done."""
        turn, decision = await self._database.tx(self._look, log.turn_id)
        if decision is None or not decision.released or decision.executed:
            return False
        await self._ask_again(log, turn, decision)
        return True

    @staticmethod
    def _look(db: sa.Connection, turn_id: str) -> tuple[StoredTurn, StoredDecision | None]:
        turn = turns.find(db, turn_id)
        return turn, decisions.find(db, turn.decision) if turn.decision else None

    async def _ask_again(self, log: TurnLog, turn: StoredTurn, before: StoredDecision) -> None:
        asked = replace(
            before.shown,
            id=f"d_{uuid.uuid4().hex}",
            expires_at=self._clock() + self._decision_seconds,
            why=STARTED,
            pattern="",
            pattern_words="",
            again=True,
        )

        def record(db: sa.Connection) -> None:
            decisions.add(
                db,
                asked,
                conversation=turn.conversation,
                tool_use_id=before.tool_use_id,
                tool=before.tool,
                tool_input=before.input,
                input_sha256=before.input_sha256,
                file_sha256=before.file_sha256,
                person=str(turn.body["asker"]["person"]),
            )
            conversations.update(db, turn.conversation, unsettled=asked.id)
            turns.move(db, turn.id, "waiting", decision=asked.id)

        await log.commit(record, DecisionRequested(asked), TurnWaiting(asked.id))
        _log.warning("turn.asks_again", turn_id=turn.id, decision=asked.id, tool=asked.tool)
        log.close()


def _unheard(db: sa.Connection, decision: StoredDecision) -> bool:
    """Whether an answer has surely had no effect yet."""
    if decision.state == "denied":
        return conversations.find(db, decision.conversation).unsettled == decision.id
    return decision.state in ("allowed", "answered") and not decision.released
