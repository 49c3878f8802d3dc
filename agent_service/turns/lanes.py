"""Who works when: one turn at a time a conversation, in order; conversations side by side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any

import sqlalchemy as sa
import structlog

from agent_service.contract.events import Notice
from agent_service.store.database import StoreError, StoreFull
from agent_service.turns.driver import Begun, Control, TurnDriver
from agent_service.turns.ends import Ends
from agent_service.turns.log import TurnLog
from agent_service.turns.readers import Readers

_log = structlog.get_logger(__name__)

BEHIND = Notice("This starts when the question before it in this conversation is answered.")


class Lanes:
    """One a service. After `stop` nobody works, and nothing begins any more."""

    def __init__(
        self, driver: TurnDriver, ends: Ends, readers: Readers, *, again_seconds: float
    ) -> None:
        """`again_seconds`: how soon a disk that could not be read is tried again."""
        self._driver = driver
        self._ends = ends
        self._readers = readers
        self._again_seconds = again_seconds
        self.waiting: dict[str, str] = {}
        """Turns that wait for a decision, by conversation: behind one nothing begins."""
        self.running: dict[str, Control] = {}
        """By turn."""
        self._queues: dict[str, list[str]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._reserved: set[str] = set()
        self._begun: dict[str, Begun] = {}
        self._stopping = False

    async def stop(self) -> None:
        """Break off all work; what is queued stays so."""
        self._stopping = True
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    # ---- places ----

    def busy(self, conversation: str) -> bool:
        """Whether somebody works there now."""
        return conversation in self._workers

    def reserve(self, conversation: str) -> bool:
        """Take the lane for a turn that is being stored, where nothing is in it; `give_back`
        then. False where something is."""
        if (
            conversation in self._workers
            or conversation in self.waiting
            or conversation in self._reserved
            or self._queues.get(conversation)
        ):
            return False
        self._reserved.add(conversation)
        return True

    def give_back(self, conversation: str) -> None:
        self._reserved.discard(conversation)

    async def wait(self, conversation: str) -> None:
        """Returns once nobody works there."""
        if (worker := self._workers.get(conversation)) is not None:
            await asyncio.wait({worker})

    def occupy(self, conversation: str, work: Coroutine[Any, Any, None]) -> None:
        """Have this done there, where nobody works: what is queued waits for it."""
        task = asyncio.create_task(work)
        self._workers[conversation] = task
        task.add_done_callback(lambda _: self._worker_done(conversation))

    # ---- turns ----

    def enqueue(
        self, conversation: str, turn_id: str, *, first: bool = False, begun: Begun | None = None
    ) -> None:
        """It runs when its time comes; `begun` is as `TurnDriver.run` has it."""
        if begun is not None:
            self._begun[turn_id] = begun
        queue = self._queues.setdefault(conversation, [])
        queue.insert(0 if first else len(queue), turn_id)
        self.kick(conversation)

    def take_out(self, conversation: str, turn_id: str) -> bool:
        """It does not run any more; False where it is not queued."""
        queue = self._queues.get(conversation, [])
        if turn_id not in queue:
            return False
        queue.remove(turn_id)
        self._begun.pop(turn_id, None)
        return True

    def kick(self, conversation: str) -> None:
        """Begin what can begin there."""
        ready = self._queues.get(conversation) and conversation not in self.waiting
        if ready and conversation not in self._workers and not self._stopping:
            self.occupy(conversation, self._work(conversation))

    def _worker_done(self, conversation: str) -> None:
        self._workers.pop(conversation, None)
        self.kick(conversation)

    async def _work(self, conversation: str) -> None:
        queue = self._queues[conversation]
        while queue and conversation not in self.waiting:
            turn_id = queue.pop(0)
            control = self.running[turn_id] = Control(conversation)
            try:
                log = await self._log_of(turn_id)
                with structlog.contextvars.bound_contextvars(request_id=turn_id):
                    begun = self._begun.pop(turn_id, None)
                    if await self._driver.run(log, conversation, control, begun) == "waiting":
                        self.waiting[conversation] = turn_id
                        await self.tell_queued(queue)
            finally:
                del self.running[turn_id]
                if turn_id not in self._ends.unrecorded:
                    self._readers.forget(turn_id)
                control.done.set()
                self._readers.wake_feed()
        if not queue:
            self._queues.pop(conversation, None)

    async def _log_of(self, turn_id: str) -> TurnLog:
        """The turn's log, however long the disk takes to be readable again."""
        while True:
            try:
                return await self._readers.log(turn_id)
            except (StoreError, sa.exc.SQLAlchemyError):
                _log.exception("turn.not_begun", turn_id=turn_id)
                await asyncio.sleep(self._again_seconds)

    async def tell_queued(self, turn_ids: Sequence[str]) -> None:
        """Readers of turns behind a decision learn why nothing happens."""
        for turn_id in list(turn_ids):
            with contextlib.suppress(StoreFull):
                await (await self._readers.log(turn_id)).commit(lambda _: None, BEHIND)
