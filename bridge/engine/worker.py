"""Who works on what: conversations in parallel, the messages of one in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
import structlog

from adapters.contract import Adapter, CommandIn, MessageIn, MessageOut, PostRef
from agent_service.contract import errors
from bridge.agent_client import TRANSIENT, AgentClient
from bridge.agent_files import AgentFiles
from bridge.budgets.pace import NotTaken
from bridge.budgets.warning import Warnings
from bridge.conversations.errands import Errand
from bridge.engine.attaching import Attaching, Brought
from bridge.engine.claims import LEASE_SECONDS
from bridge.engine.delivery import Delivery, Report
from bridge.engine.inbox import Inbox
from bridge.engine.job import MESSAGE, Job, Lease, LeaseLost, Spoiled
from bridge.engine.queued import QueuedNotices
from bridge.engine.reading import Reading
from bridge.engine.record import Record
from bridge.engine.say import say
from bridge.engine.statusline import StatusLines
from bridge.engine.turn import Ended, Later, Present, TurnRun, Waits
from bridge.metrics import Metrics
from bridge.people.deciders import Deciders
from bridge.present.fit import fit
from bridge.store.database import Database
from bridge.store.errors import StoreTrouble
from bridge.store.schema import conversation, message

log = structlog.get_logger()

QUEUED = "Waiting for its turn…"
LONG_ANSWER = "The answer is long: it follows as a file."
SPOILED = (
    "The bridge failed at this message several times, and its log says why. What you write next "
    "is taken as usual."
)
POLL_SECONDS = 2.0
MARGIN_SECONDS = 1.0
READY, STOP = "ready", "stop "
"""Hints for other nodes: something may be claimed; the message with this number is to stop."""


class Workers:
    """Drains the inbox. `concurrency` turns are in progress at once; a turn that waits for a
    decision, or only for its posts to be delivered, is none of them. `displaced`, in a
    transaction, notes why the platform has no place for a scheduled message."""

    def __init__(
        self,
        db: Database,
        inbox: Inbox,
        client: AgentClient,
        adapters: Mapping[str, Adapter],
        deciders: Deciders,
        files: AgentFiles,
        attaching: Attaching,
        reading: Reading,
        *,
        present: Present,
        lines: StatusLines,
        report: Report,
        displaced: Callable[[sa.Connection, int, str], None],
        warnings: Warnings,
        metrics: Metrics,
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
        self._reading = reading
        self.notices = QueuedNotices(db, adapters, report)
        self._warnings = warnings
        self._metrics = metrics
        self._present = present
        self._lines = lines
        self._report = report
        self._displaced = displaced
        self._free = concurrency
        self._patience = patience
        self._wake = asyncio.Event()
        self._held: dict[Lease, asyncio.Task[None]] = {}
        self._runs: dict[int, TurnRun] = {}
        self._looks: set[asyncio.Task[None]] = set()
        self._posts: set[asyncio.Task[bool]] = set()
        """Files that go with the answers to commands."""
        self._stops: set[int] = set()
        self._starved = False
        """Something may be ready that had no slot."""
        self._loops: list[asyncio.Task[None]] = []
        """Claiming first, then renewing."""
        self._hints: set[asyncio.Task[None]] = set()
        self._sure_until = 0.0
        """Until then, by this machine's clock, nobody can have claimed what is held here."""
        self._renewed = asyncio.Event()

    async def start(self) -> None:
        """Take back what an earlier process left, then work."""
        await self._db.tx(self._inbox.take_back, durable=False)
        self._sure_until = _clock() + LEASE_SECONDS - MARGIN_SECONDS
        self._db.listen(self._heard)
        self._loops = [
            asyncio.create_task(self._claim_loop()),
            asyncio.create_task(self._renew_loop()),
        ]

    async def stop(self, patience: float) -> None:
        """Claim nothing more, give running turns `patience` seconds to end, then hand them over:
        another node, or the next start, goes on with them."""
        loops, self._loops = self._loops, []
        await _cancelled([*self._looks, *loops[:1]])
        await self.notices.close()
        self._free = -1_000_000
        if busy := [*self._held.values(), *self._posts]:
            await asyncio.wait(busy, timeout=patience)
        await _cancelled([*self._held.values(), *self._posts, *loops[1:]])
        if loops:
            try:
                await self._db.tx(self._inbox.hand_over, durable=False)
                await self._db.tell(READY)
            except StoreTrouble as error:
                log.warning("leases not handed over; they run out", error=str(error))
        await _cancelled(self._hints)

    async def submit(self, said: MessageIn, problem: str) -> bool:
        """Store a message, and start on it at once where nothing is before it. False for one
        that was stored before. Raises `StoreTrouble`."""
        claim = self._free > 0
        self._free -= claim
        try:
            arrived = await self._db.tx(self._inbox.arrive, said, problem, claim)
        except BaseException:
            self._free += claim
            raise
        adapter = self._adapters.get(said.address.platform)
        if isinstance(arrived, NotTaken):
            self._free += claim
            self._metrics.arrived(arrived.why)
            if adapter is not None:
                self._lines.mark(adapter, said.address, said.keys[0], "failed")
                self.notices.tell_not_taken(said, arrived.told)
            return True
        new, job, behind = arrived
        self._metrics.arrived("stored" if new else "duplicate")
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

    @property
    def at_work(self) -> int:
        """Turns that this process works on."""
        return len(self._runs)

    def wake_ready(self) -> None:
        """Something may be ready that has no worker."""
        self._starved = True
        self._wake.set()
        if self._free <= 0:
            self._tell(READY)

    async def went_on(self, turn_id: str) -> None:
        """A turn that waited may have gone on. Harmless when it did not, or never waited."""
        if await self._record.stored(self._inbox.wake, turn_id):
            self.wake_ready()

    def stop_turn(self, message_id: int) -> None:
        """Stop the turn of a message whose row says so already, now or once it is taken, on
        whichever node that is."""
        run = self._runs.get(message_id)
        if run is not None:
            run.stop()
        else:
            self._stops.add(message_id)
            self._tell(f"{STOP}{message_id}")
        self._wake.set()

    def _tell(self, hint: str) -> None:
        if self._db.shared:
            task = asyncio.create_task(self._db.tell(hint))
            self._hints.add(task)
            task.add_done_callback(self._hints.discard)

    def _heard(self, hint: str) -> None:
        number = hint.removeprefix(STOP)
        if hint.startswith(STOP) and number.isdecimal():
            run = self._runs.get(int(number[:18]))
            if run is not None:
                run.stop()
        else:
            self._wake.set()

    async def _sure(self) -> None:
        """Returns once no other node can have claimed what is held here. After a sleep that is
        known with the next renewal, which ends the work on what was lost."""
        while self._db.shared and _clock() >= self._sure_until:
            self._renewed.clear()
            await self._renewed.wait()

    async def taken_back(self, message_id: int) -> None:
        """A message that had not begun never will: nothing beside it may say that it waits."""

        def look(con: sa.Connection) -> tuple[MessageIn | None, int]:
            row = con.execute(
                sa.select(message.c.payload, conversation.c.pending)
                .join(conversation, conversation.c.id == message.c.conversation)
                .where(message.c.id == message_id)
            ).one()
            try:
                return MESSAGE.validate_python(row.payload), row.pending
            except ValueError:
                log.warning("taken back, its row is damaged", message=message_id)
                return None, row.pending

        said, left = await self._db.tx(look, durable=False)
        adapter = self._adapters.get(said.address.platform) if said is not None else None
        if said is not None and adapter is not None:
            if said.keys:
                self._lines.mark(adapter, said.address, said.keys[0], "failed")
            if not left:
                self._lines.show(adapter, said.address, "")
        self.notices.changed(message_id)

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
            self._post(command, post)
            return "Here it is."
        return told.text

    def fitting(self, command: CommandIn, text: str) -> MessageOut:
        """What the sender of a command is told: all of it, or where that is too long for a post
        its beginning, with a file that is posted."""
        post = MessageOut(text, only_for=command.sender.identity, tone="notice")
        adapter = self._adapters.get(command.address.platform)
        if adapter is None:
            return post
        fitted = fit(post, adapter.caps.text_limit, adapter.caps.file_limit)
        if fitted.files:
            self._post(command, fitted)
            return replace(post, markdown=LONG_ANSWER)
        return fitted

    def _post(self, command: CommandIn, post: MessageOut) -> None:
        """Beside the command's receipt, which does not wait for it."""
        adapter, key = self._adapters[command.address.platform], f"command.{command.keys[0]}"
        task = asyncio.create_task(say(adapter, command.address, key, post, self._report))
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    def _begin(self, lease: Lease, job: Job | None) -> None:
        """A slot was taken for it already."""
        slot = _Slot(self)
        task = asyncio.create_task(self._drain(lease, job, slot))
        self._held[lease] = task

        def over(_: asyncio.Task[None]) -> None:
            # Here and not in the task: one that is cancelled before its first step runs nothing.
            self._held.pop(lease, None)
            slot.give_back()
            if self._starved:
                self._wake.set()  # its person may have one more now

        task.add_done_callback(over)

    async def _claim_loop(self) -> None:
        while True:
            self._wake.clear()
            if (most := self._free) > 0:
                self._free -= most
                leases: list[Lease] = []
                left = True
                try:
                    leases, left = await self._db.tx(self._inbox.pick, most, durable=False)
                except StoreTrouble as error:
                    log.error("nothing can be claimed", error=str(error), remedy=error.remedy)
                except Exception:
                    log.exception("nothing can be claimed, trying again")
                finally:
                    self._free += most - len(leases)
                self._starved = left
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
            except StoreTrouble as error:
                log.error("leases are not renewed", error=str(error), remedy=error.remedy)
            except Exception:
                log.exception("leases are not renewed")

    async def _renew(self) -> None:
        before, asked = dict(self._held), _clock()
        mine = await self._db.tx(self._inbox.renew, durable=False)
        for lease, task in before.items():
            if lease not in mine and self._held.get(lease) is task:
                log.warning("lease lost", conversation=lease.conversation)
                task.cancel()
        # After the cancellations: whoever waits to be sure of a lost one must not go on.
        self._sure_until = asked + LEASE_SECONDS - MARGIN_SECONDS
        self._renewed.set()
        for message_id in await self._db.tx(self._inbox.asked_to_stop, durable=False):
            if (run := self._runs.get(message_id)) is not None:
                run.stop()
        self._stops.clear()  # the rows say it, and the next look finds them
        for orphan in mine - self._held.keys():
            # Its worker is gone and could not give it back: without this nobody ever would.
            log.warning("lease without a worker", conversation=orphan.conversation)
            await self._db.tx(self._inbox.release, orphan, durable=False)

    async def _drain(self, lease: Lease, job: Job | None, slot: _Slot) -> None:
        taken = job is not None
        while True:
            try:
                if not taken:
                    job = await self._record.stored(self._inbox.take, lease)
                while job is not None:
                    job = await self._handle(job, slot)
                return
            except LeaseLost:
                log.warning("lease lost", conversation=lease.conversation)
                return
            except Exception:
                log.exception("worker failed", conversation=lease.conversation)
            try:
                if not await self._stumbled(lease, slot):
                    return
            except LeaseLost:
                return
            except Exception:
                log.exception("worker failed again", conversation=lease.conversation)
                await asyncio.sleep(POLL_SECONDS)
                await self._record.stored(self._inbox.release, lease)
                return
            taken = False

    async def _stumbled(self, lease: Lease, slot: _Slot) -> bool:
        """What could not be handled is tried again later, or its thread is told that it never
        will be. Whether the lease is still held, for the next one."""
        spoiled = await self._record.stored(self._inbox.stumble, lease)
        if spoiled is None:
            return False
        await self._say_spoiled(spoiled)
        # Without the next message at once: that could fail as well, in this transaction.
        await self._record.stored(self._inbox.give_up, lease, spoiled.message)
        slot.take()
        return True

    async def _say_spoiled(self, spoiled: Spoiled) -> None:
        adapter = self._adapters[spoiled.at.platform]
        log.error("message given up", message=spoiled.message, request_id=spoiled.turn_id)
        delivery = Delivery(
            adapter, spoiled.at, known={}, record=_unrecorded, report=self._report, sure=self._sure
        )
        try:
            delivery.show(f"{spoiled.turn_id}.spoiled", MessageOut(SPOILED, tone="error"))
            await delivery.flush()
        finally:
            await delivery.close()
        self._lines.show(adapter, spoiled.at, "")
        try:
            await self._client.interrupt(spoiled.turn_id)
        except errors.ServiceError as error:
            log.info("not interrupted", error=str(error))

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
            sure=self._sure,
        )
        log.info("message taken", message=job.message, resumed=job.resumed)
        self.notices.changed(job.message)

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
            behind=self._record.behind,
            tell_deciders=self._deciders.tell,
            attaching=self._attaching,
            reading=self._reading,
            fetched=fetched,
            files=self._files,
            warnings=self._warnings,
            metrics=self._metrics,
            patience=self._patience,
        )
        self._runs[job.message] = run
        if job.message in self._stops:
            run.stop()
        try:
            try:
                displaced = await self._announced(job, delivery)
                end = Ended("failed") if displaced else await run.agent()
            except (LeaseLost, asyncio.CancelledError):
                raise
            except Exception:
                log.exception("message failed")
                end = await run.broken()
            slot.give_back()
            await asyncio.sleep(0)  # whoever has waited longer for a slot comes first
            arrived = await delivery.flush()
            if isinstance(end, Waits):
                log.info("message waits", message=job.message)
                # A question that nobody can see is none that anybody can answer.
                unseen = bool(end.card) and not delivery.answerable(end.card)
                await self._wait(job, end.seq, unseen)
                return None
            if isinstance(end, Later):
                log.info("message put off", message=job.message)
                await self._record.stored(self._inbox.put_off, job, end.status, end.pause)
                self._lines.show(adapter, job.at, "")
                return None
            self._metrics.ended(run.outcome)
            if not arrived and not displaced:
                end = run.not_shown(end)
            run.show_end()
            log.info("message handled", message=job.message, status=end.status)
            left, following = await self._finish(job, end.status, slot.take())
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

    async def _announced(self, job: Job, delivery: Delivery) -> bool:
        """Whether a scheduled message has no place any more: then the agent is not asked."""
        key = f"{job.turn_id}.scheduled"
        if not job.announcement or key in job.posts:
            return False
        delivery.show(key, MessageOut(job.announcement, tone="notice"))
        await delivery.flush()
        if (refused := delivery.refused.get(key)) is None:
            return False
        log.warning("scheduled message has no place", message=job.message, error=str(refused))
        why = f"{refused} {refused.remedy}".strip()
        await self._record.stored(self._displaced, job.message, why)
        return True

    async def _finish(self, job: Job, status: str, more: bool) -> tuple[bool, Job | None]:
        try:
            return await self._record.stored(self._inbox.finish, job, status, more)
        except LeaseLost:
            raise
        except Exception:
            if not more:
                raise
            # The next one may be what failed: it must not take this one with it.
            log.exception("next message not taken", conversation=job.lease.conversation)
            return await self._record.stored(self._inbox.finish, job, status, False)

    async def _wait(self, job: Job, seq: int, stop: bool) -> None:
        await self._record.stored(self._inbox.wait, job, seq, stop)
        self._lines.show(self._adapters[job.at.platform], job.at, "")
        self.wake_ready()  # it may be ready again at once, to be stopped
        look = asyncio.create_task(self._look(job, seq))
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)

    async def _look(self, job: Job, seq: int) -> None:
        """A turn may have gone on between its last event and our row: nobody else would tell."""
        while True:
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


async def _unrecorded(_key: str, _ref: PostRef) -> None:
    """Nobody edits it: the adapter finds it by its key."""


async def _cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _clock() -> float:
    """It goes on while the process, or the machine, sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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
