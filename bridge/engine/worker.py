"""Who works on what: conversations in parallel, the messages of one in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import sqlalchemy as sa
import structlog

from adapters.contract import Adapter, CommandIn, DeliveryError, MessageIn, MessageOut
from agent_service.contract import errors
from bridge.agent_client import TRANSIENT, AgentClient
from bridge.agent_files import AgentFiles
from bridge.conversations.errands import Errand
from bridge.engine.attaching import Attaching, Brought
from bridge.engine.delivery import Delivery
from bridge.engine.inbox import LEASE_SECONDS, Inbox
from bridge.engine.job import MESSAGE, Job, Lease, LeaseLost
from bridge.engine.queued import STARTED, TAKEN_BACK, QueuedNotices
from bridge.engine.record import Record
from bridge.engine.say import say
from bridge.engine.statusline import StatusLines
from bridge.engine.turn import Present, TurnRun, Waits
from bridge.people.deciders import Deciders
from bridge.store.database import Database
from bridge.store.errors import StoreFull
from bridge.store.schema import conversation, message

log = structlog.get_logger()

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
        deciders: Deciders,
        files: AgentFiles,
        attaching: Attaching,
        *,
        present: Present,
        lines: StatusLines,
        report: Callable[[str, DeliveryError | None], None],
        concurrency: int,
        patience: float,
    ) -> None:
        self._db = db
        self._record = Record(db)
        self._inbox = inbox
        self._client = client
        self._adapters = adapters
        self._deciders = deciders
        self._files = files
        self._attaching = attaching
        self.notices = QueuedNotices(db, adapters, report)
        self._present = present
        self._lines = lines
        self._report = report
        self._free = concurrency
        self._patience = patience
        self._wake = asyncio.Event()
        self._held: dict[Lease, asyncio.Task[None]] = {}
        self._runs: dict[int, TurnRun] = {}
        self._waiting: set[str] = set()
        self._looks: set[asyncio.Task[None]] = set()
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
        watching = [*self._loops, *self._looks]
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await self.notices.close()
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
                else:
                    self.notices.tell(said)
            self.wake_ready()
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
        if await self._record.stored(self._inbox.wake, turn_id):
            self._wake.set()

    def stop_turn(self, message_id: int) -> None:
        """Stop the turn of a message whose row says so already, now or once it is taken."""
        run = self._runs.get(message_id)
        if run is not None:
            run.stop()
        else:
            self._stops.add(message_id)
        self._wake.set()

    async def taken_back(self, message_id: int) -> None:
        """A message that had not begun never will: nothing beside it may say that it waits."""

        def look(con: sa.Connection) -> tuple[MessageIn, int]:
            row = con.execute(
                sa.select(message.c.payload, conversation.c.pending)
                .join(conversation, conversation.c.id == message.c.conversation)
                .where(message.c.id == message_id)
            ).one()
            return MESSAGE.validate_python(row.payload), row.pending

        said, left = await self._db.tx(look, durable=False)
        adapter = self._adapters.get(said.address.platform)
        if adapter is not None:
            self._lines.mark(adapter, said.address, said.keys[0], "failed")
            if not left:
                self._lines.show(adapter, said.address, "")
        self.notices.show(message_id, TAKEN_BACK)

    async def run_errand(self, command: CommandIn, errand: Errand) -> str:
        """Do what a command wants done in a workspace; gives what its sender is told. A file that
        goes with it is posted for the sender alone."""
        adapter = self._adapters[command.address.platform]
        try:
            told = await errand(self._files, adapter.caps.file_limit)
        except errors.ServiceError as error:
            return f"{error.message} {error.remedy}".strip()
        if told.file is not None:
            post = MessageOut(
                told.text, files=(told.file,), only_for=command.sender.identity, tone="notice"
            )
            key = f"command.{command.keys[0]}"
            await say(adapter, command.address, key, post, self._report)
            return "Here it is."
        return told.text

    def _begin(self, lease: Lease, job: Job | None) -> None:
        """A slot was taken for it already."""
        slot = _Slot(self)
        task = asyncio.create_task(self._drain(lease, job, slot))
        self._held[lease] = task

        def over(_: asyncio.Task[None]) -> None:
            # Here and not in the task: one that is cancelled before its first step runs nothing.
            self._held.pop(lease, None)
            slot.give_back()

        task.add_done_callback(over)

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
                except Exception:
                    log.exception("nothing can be claimed, trying again")
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
            try:
                await self._renew()
            except StoreFull as error:
                log.error("leases are not renewed", error=str(error), remedy=error.remedy)
            except Exception:
                log.exception("leases are not renewed")

    async def _renew(self) -> None:
        before = dict(self._held)
        mine = await self._db.tx(self._inbox.renew, durable=False)
        for lease, task in before.items():
            if lease not in mine and self._held.get(lease) is task:
                log.warning("lease lost", conversation=lease.conversation)
                task.cancel()
        for orphan in mine - self._held.keys():
            # Its worker is gone and could not give it back: without this nobody ever would.
            log.warning("lease without a worker", conversation=orphan.conversation)
            await self._db.tx(self._inbox.release, orphan, durable=False)

    async def _drain(self, lease: Lease, job: Job | None, slot: _Slot) -> None:
        try:
            if job is None:
                job = await self._record.stored(self._inbox.take, lease)
            while job is not None:
                job = await self._handle(job, slot)
        except LeaseLost:
            log.warning("lease lost", conversation=lease.conversation)
        except Exception:
            log.exception("worker failed", conversation=lease.conversation)
            await asyncio.sleep(POLL_SECONDS)
            await self._record.stored(self._inbox.release, lease)

    async def _handle(self, job: Job, slot: _Slot) -> Job | None:
        structlog.contextvars.bind_contextvars(request_id=job.turn_id)
        adapter = self._adapters[job.at.platform]
        delivery = Delivery(
            adapter,
            job.at,
            known=job.posts,
            record=lambda key, ref: self._record.post(job, key, ref),
            report=self._report,
            answers=job.said.keys[0] if job.said.keys else "",
            again=job.resumed,
        )
        log.info("message taken", message=job.message, resumed=job.resumed)
        self.notices.show(job.message, STARTED)

        async def fetched(job: Job, brought: Brought) -> None:
            await self._record.fetched(self._inbox, job, brought)

        run = TurnRun(
            job,
            client=self._client,
            adapter=adapter,
            delivery=delivery,
            present=self._present,
            lines=self._lines,
            remember=self._record.decision,
            name_of=self._record.name_of,
            tell_deciders=self._deciders.tell,
            attaching=self._attaching,
            fetched=fetched,
            files=self._files,
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
                end = await run.broken()
            slot.give_back()
            await asyncio.sleep(0)  # whoever has waited longer for a slot comes first
            await delivery.flush()
            run.show_end()
            status = "waiting" if isinstance(end, Waits) else end.status
            log.info("message handled", message=job.message, status=status)
            if isinstance(end, Waits):
                await self._wait(job, end.seq)
                return None
            more = slot.take()
            left, following = await self._record.stored(self._inbox.finish, job, end.status, more)
            if following is None:
                self._lines.show(adapter, job.at, QUEUED if left else "")
            if left and following is None:
                self.wake_ready()
            return following
        finally:
            if self._runs.get(job.message) is run:
                del self._runs[job.message]
            self._stops.discard(job.message)
            await delivery.close()

    async def _wait(self, job: Job, seq: int) -> None:
        self._waiting.add(job.turn_id)
        await self._record.stored(self._inbox.wait, job, seq)
        self._lines.show(self._adapters[job.at.platform], job.at, "")
        self.wake_ready()  # it may be ready again at once, to be stopped
        look = asyncio.create_task(self._look(job, seq))
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)

    async def _look(self, job: Job, seq: int) -> None:
        """A turn may have gone on between its last event and our row: nobody else would tell."""
        while job.turn_id in self._waiting:
            try:
                view = await self._client.put_turn(job.turn_id, job.request)
            except TRANSIENT as error:
                log.info("waiting turn not looked at yet", error=str(error))
                await asyncio.sleep(POLL_SECONDS)
            except errors.ServiceError as error:
                log.warning("waiting turn not looked at", error=str(error))
                return
            else:
                if view.state != "waiting" or view.last_seq > seq:
                    await self.went_on(job.turn_id)
                return


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
