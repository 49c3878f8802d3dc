"""How turns end: what people are told, and that it is recorded, on a full disk too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from agent_service.contract.events import TurnFinished
from agent_service.store import conversations, turns
from agent_service.store.database import StoreFull
from agent_service.turns.log import TurnLog
from agent_service.turns.port import Ended

_log = structlog.get_logger(__name__)

LOST = Ended(
    "failed",
    "interrupted",
    "The agent service stopped while this ran, so it ended in the middle.",
    "Look at what it had done, then retry it or go on.",
)
NO_ROOM = Ended(
    "failed",
    "storage_full",
    "There is no room left on the agent service's disk.",
    "An operator has to free space; then retry.",
    broken=True,
)
REVOKED = Ended(
    "failed",
    "revoked",
    "The agent's access to the model was revoked, so this was ended.",
    "If that was not meant, an operator can allow it again.",
    broken=True,
)
FAILED = Ended(
    "failed",
    "agent_failed",
    "Something went wrong inside the agent service.",
    "Retry; if it happens again, an operator finds the reason in the service's log.",
    broken=True,
)


@dataclass(frozen=True, slots=True)
class _Unrecorded:
    log: TurnLog
    ended: Ended
    settled: str | None


class Ends:
    """Ends turns. `unrecorded` are those whose readers know it while the disk was full."""

    def __init__(self, heard: Callable[[Ended], None] = lambda _ended: None) -> None:
        """`heard` is told of each."""
        self._heard = heard
        self.unrecorded: dict[str, _Unrecorded] = {}

    async def finish(self, log: TurnLog, ended: Ended, settled: str | None = None) -> None:
        """End a turn durably and for all readers. `settled` names the conversation whose
        session said that it has nothing more to do."""
        _log.info("turn.finished", turn_id=log.turn_id, outcome=ended.outcome, reason=ended.reason)
        self._heard(ended)
        event = TurnFinished(ended.outcome, ended.reason, ended.message, ended.remedy)
        try:
            await log.commit(_end(log.turn_id, ended, settled), event)
        except StoreFull:
            self.unrecorded[log.turn_id] = _Unrecorded(log, ended, settled)
            log.add(event)
        log.close()

    async def record_again(self) -> list[str]:
        """Record what the full disk did not take; gives the turns that now are over for good.

        Raises `StoreFull` while there still is no room.
        """
        recorded = []
        for turn_id, end in list(self.unrecorded.items()):
            await end.log.commit(_end(turn_id, end.ended, end.settled))
            del self.unrecorded[turn_id]
            recorded.append(turn_id)
        return recorded


def _end(turn_id: str, ended: Ended, settled: str | None) -> Callable[[sa.Connection], None]:
    def change(db: sa.Connection) -> None:
        turns.move(db, turn_id, "finished", outcome=ended.outcome, reason=ended.reason)
        if settled is not None:
            conversations.update(db, settled, unsettled=None)

    return change
