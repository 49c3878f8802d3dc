"""Who works on what: conversations in parallel, the messages of one in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar, TypeVarTuple

import sqlalchemy as sa
import structlog

from adapters.contract import Adapter, DeliveryError, MessageIn, PostRef
from agent_service.contract import Decision, errors
from bridge.agent_client import AgentClient
from bridge.engine.delivery import Delivery
from bridge.engine.inbox import LEASE_SECONDS, Inbox
from bridge.engine.job import Job, Lease, LeaseLost
from bridge.engine.statusline import StatusLines
from bridge.engine.turn import Present, TurnRun, Waits, shown_decision
from bridge.store.database import Database
from bridge.store.errors import StoreFull
from bridge.store.schema import decision, post

log = structlog.get_logger()
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

QUEUED = "Waiting for its turn…"
POLL_SECONDS = 2.0


class Workers:
    """Drains the inbox. `concurrency` turns are in progress at once; a turn that waits for a
    decision, or only for its posts to be delivered, is none of them."""

    def __init__(
        self,
        db: Database,
        inbox: Inbox,
        client: AgentClient,
        adapters: Mapping[str, Adapter],
        *,
        present: Present,
        lines: StatusLines,
        report: Callable[[str, DeliveryError | None], None],
        concurrency: int,
        patience: float,
    ) -> None:
        self._db = db
        self._inbox = inbox
        self._client = client
        self._adapters = adapters
        self._present = present
        self._lines = lines
        self._report = report
        self._free = concurrency
        self._patience = patience
        self._wake = asyncio.Event()
        self._held: dict[Lease, asyncio.Task[None]] = {}
        self._runs: dict[int, TurnRun] = {}
        self._waiting: set[str] = set()
        self._stops: set[int] = set()
        self._starved = False
        """Something may be ready that had no slot."""
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take back what an earlier process left, then work."""
        await self._db.tx(self._inbox.take_back, durable=False)
        self._loops = [
            asyncio.create_task(self._claim_loop()),
            asyncio.create_task(self._renew_loop()),
        ]

    async def stop(self, patience: float) -> None:
        """Claim nothing more, give running turns `patience` seconds, then leave them as a crash
        would: the next start goes on with them."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._free = -1_000_000
        if self._held:
            await asyncio.wait(self._held.values(), timeout=patience)
        tasks = list(self._held.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def submit(self, said: MessageIn, problem: str) -> bool:
        """Store a message, and start on it at once where nothing is before it. False for one
        that was stored before. Raises `StoreFull`."""
        claim = self._free > 0
        self._free -= claim
        try:
            new, job, behind = await self._db.tx(self._inbox.submit, said, problem, claim)
        except BaseException:
            self._free += claim
            raise
        adapter = self._adapters.get(said.address.platform)
        if job is not None:
            self._begin(job.lease, job)
            return True
        self._free += claim
        if new:
            if adapter is not None:
                self._lines.mark(adapter, said.address, said.keys[0], "queued")
                if not behind:
                    self._lines.show(adapter, said.address, QUEUED)
            self._starved = True
            self._wake.set()
        return new

    def wake_ready(self) -> None:
        """Something may be ready that has no worker."""
        self._starved = True
        self._wake.set()

    async def went_on(self, turn_id: str) -> None:
        """A turn that waited may have gone on. Harmless when it did not, or never waited."""
        if turn_id not in self._waiting:
            return
        self._waiting.discard(turn_id)
        if await self._stored(self._inbox.wake, turn_id):
            self._wake.set()

    def stop_turn(self, message_id: int) -> None:
        """Stop the turn of a message whose row says so already, now or once it is taken."""
        run = self._runs.get(message_id)
        if run is not None:
            run.stop()
        else:
            self._stops.add(message_id)
        self._wake.set()

    def _begin(self, lease: Lease, job: Job | None) -> None:
        """A slot was taken for it already."""
        task = asyncio.create_task(self._drain(lease, job))
        self._held[lease] = task
        task.add_done_callback(lambda _: self._held.pop(lease, None))

    async def _claim_loop(self) -> None:
        while True:
            self._wake.clear()
            if (most := self._free) > 0:
                self._free -= most
                leases: list[Lease] = []
                try:
                    leases = await self._db.tx(self._inbox.pick, most, durable=False)
                except StoreFull as error:
                    log.error("nothing can be claimed", error=str(error), remedy=error.remedy)
                finally:
                    self._free += most - len(leases)
                self._starved = len(leases) == most
                for lease in leases:
                    self._begin(lease, None)
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _renew_loop(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            before = dict(self._held)
            if not before:
                continue
            try:
                mine = await self._db.tx(self._inbox.renew, durable=False)
            except StoreFull as error:
                log.error("leases are not renewed", error=str(error), remedy=error.remedy)
                continue
            for lease, task in before.items():
                if lease not in mine and self._held.get(lease) is task:
                    log.warning("lease lost", conversation=lease.conversation)
                    task.cancel()

    async def _drain(self, lease: Lease, job: Job | None) -> None:
        slot = _Slot(self)
        try:
            if job is None:
                job = await self._stored(self._inbox.take, lease)
            while job is not None:
                job = await self._handle(job, slot)
        except LeaseLost:
            log.warning("lease lost", conversation=lease.conversation)
        except Exception:
            log.exception("worker failed", conversation=lease.conversation)
            await asyncio.sleep(POLL_SECONDS)
            await self._stored(self._inbox.release, lease)
        finally:
            slot.give_back()

    async def _handle(self, job: Job, slot: _Slot) -> Job | None:
        structlog.contextvars.bind_contextvars(request_id=job.turn_id)
        adapter = self._adapters[job.at.platform]
        delivery = Delivery(
            adapter,
            job.at,
            known=job.posts,
            record=lambda key, ref: self._record_post(job, key, ref),
            report=self._report,
        )
        run = TurnRun(
            job,
            client=self._client,
            adapter=adapter,
            delivery=delivery,
            present=self._present,
            lines=self._lines,
            remember=self._remember_decision,
            patience=self._patience,
        )
        self._runs[job.message] = run
        if job.message in self._stops:
            run.stop()
        try:
            try:
                end = await run.agent()
            except (LeaseLost, asyncio.CancelledError):
                raise
            except Exception:
                log.exception("message failed")
                end = run.say_broken()
            slot.give_back()
            await asyncio.sleep(0)  # whoever has waited longer for a slot comes first
            await delivery.flush()
            run.show_end()
            if isinstance(end, Waits):
                await self._wait(job, end.seq)
                return None
            more = slot.take()
            left, following = await self._stored(self._inbox.finish, job, end.status, more)
            if not left:
                self._lines.show(adapter, job.at, "")
            elif following is None:
                self._starved = True
                self._wake.set()
            return following
        finally:
            del self._runs[job.message]
            self._stops.discard(job.message)
            await delivery.close()

    async def _wait(self, job: Job, seq: int) -> None:
        await self._stored(self._inbox.wait, job, seq)
        self._lines.show(self._adapters[job.at.platform], job.at, "")
        self._waiting.add(job.turn_id)
        # It may have gone on between its last event and our row: nobody else would tell.
        try:
            view = await self._client.put_turn(job.turn_id, job.request)
        except errors.ServiceError as error:
            log.debug("waiting turn not looked at", error=str(error))
            return
        if view.state != "waiting" or view.last_seq > seq:
            await self.went_on(job.turn_id)

    async def _stored(self, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """A step of a worker: it waits for room on the disk rather than lose its place.

        Not durable on purpose: what a power cut takes back is only done once more, idempotently.
        """
        pause = 0.25
        while True:
            try:
                return await self._db.tx(fn, *args, durable=False)
            except StoreFull as error:
                log.error("waiting for room on the disk", error=str(error), remedy=error.remedy)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    async def _record_post(self, job: Job, key: str, ref: PostRef) -> None:
        def fn(con: sa.Connection) -> None:
            fresh = self._db.insert(post).values(
                key=key,
                conversation=job.lease.conversation,
                message=job.message,
                ref=ref.id,
                at=self._db.now,
            )
            con.execute(
                fresh.on_conflict_do_update(
                    index_elements=[post.c.key], set_={"ref": fresh.excluded.ref}
                )
            )

        try:
            await self._db.tx(fn, durable=False)
        except StoreFull:
            # The adapter gives the same post for the same key after a crash.
            log.warning("post not recorded", key=key)

    async def _remember_decision(self, job: Job, asked: Decision) -> None:
        def fn(con: sa.Connection) -> None:
            con.execute(
                self._db.insert(decision)
                .values(
                    id=asked.id,
                    message=job.message,
                    conversation=job.lease.conversation,
                    turn_id=job.turn_id,
                    shown=shown_decision(asked),
                )
                .on_conflict_do_nothing()
            )

        await self._stored(fn)


class _Slot:
    """A worker's place among the turns in progress."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._taken = True

    def give_back(self) -> None:
        if self._taken:
            self._taken = False
            self._workers._free += 1
            if self._workers._starved:
                self._workers.wake_ready()

    def take(self) -> bool:
        """Whether there is one: others may have been waiting for it."""
        if not self._taken and self._workers._free > 0:
            self._workers._free -= 1
            self._taken = True
        return self._taken
