"""What went on at the agent service without anybody here noticing."""

from __future__ import annotations

import asyncio

import structlog

from agent_service.contract import errors
from bridge.agent_client import TRANSIENT, AgentClient
from bridge.engine.inbox import Inbox
from bridge.engine.worker import Workers
from bridge.people.deciders import Deciders
from bridge.store.database import Database
from bridge.store.errors import StoreTrouble

log = structlog.get_logger()

EVERY_SECONDS = 120.0


class Sweep:
    """Run it on one node at a time. The feed tells what goes on by itself; this finds what it
    told while nobody could hear it, as when a node died between a turn's wait and its look."""

    def __init__(
        self,
        db: Database,
        client: AgentClient,
        workers: Workers,
        inbox: Inbox,
        deciders: Deciders,
    ) -> None:
        self._db = db
        self._client = client
        self._workers = workers
        self._inbox = inbox
        self._deciders = deciders

    async def run(self) -> None:
        """Every two minutes, for ever."""
        while True:
            try:
                await self.look()
            except StoreTrouble as error:
                log.error("waiting turns not looked at", error=str(error), remedy=error.remedy)
            except TRANSIENT as error:
                log.info("waiting turns not looked at yet", error=str(error))
            except Exception:
                log.exception("waiting turns not looked at")
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Look at every turn that waits, and tell of changed deciders that the agent service has
        not heard of. Raises `StoreTrouble`, and `ServiceError` where the service is away."""
        await self._deciders.catch_up()
        for turn_id, seq in await self._db.tx(self._inbox.waiting, durable=False):
            try:
                turn = await self._client.turn(turn_id)
            except errors.NotFound:
                pass  # whoever takes the message next says so
            except TRANSIENT:
                raise
            except errors.ServiceError as error:
                log.warning("waiting turn not looked at", turn=turn_id, error=str(error))
                continue
            else:
                if turn.state == "waiting" and turn.last_seq <= seq:
                    continue
            await self._workers.went_on(turn_id)
