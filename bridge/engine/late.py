"""Cards of decisions that were settled after their turn: it tells nothing of them any more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import sqlalchemy as sa
import structlog

from adapters.contract import Adapter, Address, PostRef
from agent_service.contract import errors, events
from bridge.agent_client import AgentClient
from bridge.conversations import places
from bridge.engine.delivery import Delivery, Report
from bridge.engine.pending import home_of
from bridge.people import access
from bridge.present.decision import card, resolved
from bridge.store.database import Database
from bridge.store.schema import decision, post

log = structlog.get_logger()


class LateCards:
    """One a bridge. A card that cannot be brought up to date stays as it is: its buttons then say
    what was decided."""

    def __init__(
        self,
        db: Database,
        client: AgentClient,
        adapters: Mapping[str, Adapter],
        *,
        report: Report,
    ) -> None:
        self._db = db
        self._client = client
        self._adapters = adapters
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()

    def settle(self, decision_id: str) -> None:
        """Have the card say what was decided, and take its buttons away. Returns at once."""
        task = asyncio.create_task(self._settle(decision_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _settle(self, decision_id: str) -> None:
        try:
            known = await self._db.tx(_known, decision_id, durable=False)
            if known is None or known[0].platform not in self._adapters:
                return
            at, turn_id, asked, key, ref = known
            view = await self._client.decision(turn_id, decision_id)
            if view.state != "waiting":
                name = await self._name(view.decided_by)
                said = events.DecisionResolved(decision_id, view.state, name, view.reason)
                await self._show(at, asked, key, ref, said)
        except errors.ServiceError as error:
            log.warning("late card not settled", decision=decision_id, error=str(error))
        except Exception:
            log.exception("late card not settled", decision=decision_id)

    async def _name(self, person: str) -> str:
        return await self._db.tx(access.name_of, person, durable=False) if person else ""

    async def _show(
        self,
        at: Address,
        asked: dict[str, object],
        key: str,
        ref: PostRef,
        said: events.DecisionResolved,
    ) -> None:
        adapter = self._adapters[at.platform]
        caps = adapter.caps
        before = card(events.decision_from_json(asked), caps.text_limit, caps.file_limit)
        delivery = Delivery(adapter, at, known={key: ref}, record=_kept, report=self._report)
        try:
            delivery.show(key, resolved(before, said, caps.text_limit))
            await delivery.flush()
        finally:
            await delivery.close()


def _known(
    con: sa.Connection, decision_id: str
) -> tuple[Address, str, dict[str, object], str, PostRef] | None:
    """(where it was asked, its turn, what was asked, the key and place of its card)."""
    row = con.execute(sa.select(decision).where(decision.c.id == decision_id)).first()
    if row is None:
        return None
    key = f"{row.turn_id}.d-{row.id}"
    ref = con.scalar(sa.select(post.c.ref).where(post.c.key == key))
    if ref is None:
        return None
    at = places.address_of(home_of(con, row.conversation))
    return at, row.turn_id, row.shown, key, PostRef(ref)


async def _kept(_key: str, _ref: PostRef) -> None:
    """It is known already."""
