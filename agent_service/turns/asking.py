"""Asks people: about a call, for which its turn waits, and about a host, for which nothing does."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
import structlog

from agent_service.contract.decisions import Decision
from agent_service.contract.events import (
    DecisionRequested,
    EgressRefused,
    ToolFinished,
    TurnWaiting,
)
from agent_service.contract.turns import TurnRequest
from agent_service.policy.canonical import input_sha256
from agent_service.policy.policies import Policies
from agent_service.store import conversations, decisions, turns
from agent_service.store.conversations import DOUBT
from agent_service.store.database import Database
from agent_service.store.decisions import StoredDecision
from agent_service.store.turns import StoredTurn
from agent_service.turns.log import TurnLog
from agent_service.turns.pool import SessionPool
from agent_service.turns.port import Deferred

_log = structlog.get_logger(__name__)

NETWORK = "Network"
"""Stands where a decision names a tool, of one about a host."""
MOST_HOSTS = 3
"""Hosts that one turn asks about; of more, people are only told."""
DENIED_SECONDS = 24 * 3600
"""How long a conversation does not ask again about a host that was denied in it."""
_EXIT_CODE = re.compile(r"Exit code (\d{1,3})\b")


class Asking:
    """One a service."""

    def __init__(
        self,
        database: Database,
        pool: SessionPool,
        policies: Policies,
        *,
        decision_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._pool = pool
        self._policies = policies
        self._decision_seconds = decision_seconds
        self._clock = clock

    async def about_host(
        self, log: TurnLog, turn: StoredTurn, request: TurnRequest, refused: EgressRefused
    ) -> None:
        """Ask whether the workspace may reach a host from now on. Nothing waits for the answer."""
        target = f"{refused.host}:{refused.port}"
        since = self._clock() - DENIED_SECONDS
        asked, known = await self._database.tx(
            lambda db: (
                decisions.asked_in(db, turn.id, NETWORK),
                decisions.asked_for(db, turn.conversation, NETWORK, target, since=since),
            )
        )
        if known or asked >= MOST_HOSTS:
            log.add(refused)
            return
        shown = Decision(
            id=f"d_{uuid.uuid4().hex}",
            turn_id=turn.id,
            kind="network",
            tool=NETWORK,
            shown=target,
            title=f"Reach {target}",
            expires_at=self._clock() + self._decision_seconds,
        )

        def record(db: sa.Connection) -> None:
            decisions.add(
                db,
                shown,
                conversation=turn.conversation,
                tool=NETWORK,
                tool_use_id="",
                tool_input={"host": refused.host, "port": refused.port},
                input_sha256=input_sha256(NETWORK, {"target": target}),
                file_sha256="",
                person=request.asker.person,
            )

        await log.commit(record, DecisionRequested(shown))

    async def about_call(self, log: TurnLog, turn: StoredTurn, deferred: Deferred) -> None:
        """Record the decision, show it, and give back everything the turn holds."""
        decision_id = f"d_{uuid.uuid4().hex}"
        expires = self._clock() + self._decision_seconds
        shown = replace(deferred.decision, id=decision_id, turn_id=turn.id, expires_at=expires)
        if shown.kind == "tool":
            needs = await self._database.tx(
                self._policies.people_needed, deferred.tool, deferred.input, Path(shown.cwd)
            )
            if needs > 1:
                shown = replace(shown, needs=needs, pattern="", pattern_words="")

        def record(db: sa.Connection) -> None:
            decisions.add(
                db,
                shown,
                conversation=turn.conversation,
                tool=deferred.tool,
                tool_use_id=deferred.tool_use_id,
                tool_input=deferred.input,
                input_sha256=input_sha256(deferred.tool, deferred.input),
                file_sha256=deferred.file_sha256,
                person=str(turn.body["asker"]["person"]),
            )
            conversations.update(db, turn.conversation, unsettled=decision_id)
            turns.move(db, turn.id, "waiting", decision=decision_id)

        # The process must be gone before anybody can answer: a second one would fight it.
        await self._pool.discard(turn.conversation)
        await log.commit(record, DecisionRequested(shown), TurnWaiting(decision_id))
        _log.info("turn.waiting", turn_id=turn.id, decision=decision_id, tool=deferred.tool)
        log.close()


def executed(
    db: sa.Connection, conversation: str, decision: StoredDecision, result: ToolFinished
) -> None:
    """The released call has its result: how it ended is known from here on."""
    conversations.update(db, conversation, unsettled=DOUBT)
    code = _EXIT_CODE.match(result.summary) if decision.tool == "Bash" else None
    exit_code = 0 if decision.tool == "Bash" and result.ok else code and int(code[1])
    decisions.executed(db, decision.id, ok=result.ok, exit_code=exit_code)
