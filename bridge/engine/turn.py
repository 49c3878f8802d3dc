"""One message through the agent service, shown where it was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import structlog

from adapters.contract import Adapter, Choice, MessageOut
from agent_service.contract import Decision, TurnView, errors, events, says_nothing
from agent_service.contract.events import (
    BudgetUsed,
    DecisionApproved,
    DecisionRequested,
    DecisionResolved,
    FileReady,
    Text,
    TextDelta,
    TurnFinished,
    TurnStarted,
    TurnWaiting,
)
from bridge.agent_client import TRANSIENT, AgentClient, Patience, Unreached, Untold
from bridge.agent_files import AgentFiles
from bridge.budgets.warning import Warnings
from bridge.engine.attaching import Attaching, Brought
from bridge.engine.delivery import Delivery
from bridge.engine.job import Job
from bridge.engine.reading import Reading
from bridge.engine.statusline import Mark, StatusLines
from bridge.metrics import Metrics
from bridge.present.decision import plain
from bridge.present.files import not_had, sent, too_large

log = structlog.get_logger()

THINKING = "Thinking…"
TICK_SECONDS = 10.0
"""Between two looks at a turn in which nothing happens."""
BEHIND_AFTER = 2.0
"""Seconds after which a turn that has not begun is looked at, whether it can."""
PUT_OFF_SECONDS = 5.0
"""Between two tries at what can only be waited for."""
FETCHING = "Fetching your files…"
READING = "Reading what was written before…"
NOTHING_LEFT = "None of the files could be had, and there was no text: nothing was asked."
UNREACHABLE = "The agent service is not reachable; trying again."
BROKEN = "Something went wrong inside the bridge; its log says what."
REACHABLE = "The agent service was not reachable for a while; it is again."


class Presentation(Protocol):
    """How a turn's events look as posts (`bridge.present.turn.TurnPresentation`)."""

    def apply(self, event: events.Event) -> None: ...

    def posts(self) -> list[tuple[str, MessageOut]]:
        """(suffix of the key, post) in order; posts are only ever appended."""
        ...

    def file(self, post: MessageOut) -> str:
        """A file that the agent sent, below what was said; gives the suffix of its key."""
        ...

    def status(self) -> str: ...


Present = Callable[[int, int], Presentation]
"""Makes a presentation for posts of at most so many characters, with files of at most so many
bytes."""
RememberDecision = Callable[[Job, Decision], Awaitable[None]]
NameOf = Callable[[str], Awaitable[str]]
"""A person's name for their id."""
Behind = Callable[[Job], Awaitable[bool]]
"""Whether its turn cannot begin before somebody answers a question elsewhere."""
TellDeciders = Callable[[str, str], Awaitable[None]]
"""Has the agent service know who may decide in a workspace; by whose message that came up."""


Fetched = Callable[[Job, Brought], Awaitable[None]]
"""Keeps what came of a message's files, before anything is asked."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The message is dealt with: done, failed or cancelled."""

    status: str


@dataclass(frozen=True, slots=True)
class Waits:
    """The turn waits for a decision since event `seq`; `card` is the key of the post that asks."""

    seq: int
    card: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing can be done about it now. It is tried again after a pause, and is open, as
    `status`, until then: the agent service may have its turn."""

    status: Literal["running", "waiting"]
    pause: float = PUT_OFF_SECONDS


class TurnRun:
    """A turn from its request to its end or its next wait. Run again after a crash, it shows
    the same posts by the same keys: nothing is lost and nothing doubled."""

    def __init__(
        self,
        job: Job,
        *,
        client: AgentClient,
        adapter: Adapter,
        delivery: Delivery,
        present: Present,
        lines: StatusLines,
        remember: RememberDecision,
        name_of: NameOf,
        behind: Behind,
        tell_deciders: TellDeciders,
        attaching: Attaching,
        reading: Reading,
        fetched: Fetched,
        files: AgentFiles,
        warnings: Warnings,
        metrics: Metrics,
        patience: float,
    ) -> None:
        self.job = job
        self._warnings = warnings
        self._metrics = metrics
        self._taken_at = time.monotonic()
        self._said_something = job.resumed
        self._near: list[BudgetUsed] = []
        self.outcome = "broken"
        """How it ended, as it is counted."""
        self._client = client
        self._adapter = adapter
        self._delivery = delivery
        self._presentation = present(adapter.caps.text_limit, adapter.caps.file_limit)
        self._lines = lines
        self._remember = remember
        self._name_of = name_of
        self._behind = behind
        self._tell_deciders = tell_deciders
        self._attaching = attaching
        self._reading = reading
        self._fetched = fetched
        self._files = files
        self._sent: set[str] = set()
        """Suffixes of posts with files that are on the platform already, for good."""
        self._given = 0
        self._was_away = self._key("unreachable") in job.posts
        # Who waited for long already need not hold a place for as long again.
        self._patience_limit = min(patience, PUT_OFF_SECONDS) if self._was_away else patience
        self._touched = False
        """The agent service has the turn, or may have it."""
        self._began = False
        self._card = ""
        self._stop_asked = job.stop_asked
        self._accepted = False
        self._interrupting: asyncio.Task[None] | None = None
        self._end_mark: Mark | None = None

    async def agent(self) -> Ended | Waits | Later:
        """The part that needs the agent. Returns as soon as the agent is through; what is still
        to be shown is in the delivery."""
        try:
            return await self._agent()
        except errors.NotFound:
            self._say_failed(
                "The agent service does not know this turn any more: it was interrupted.",
                "Retry asks it again from the start.",
            )
        except errors.ServiceError as error:
            if self._touched and isinstance(error, TRANSIENT):
                # To give it up would be to let it run unseen, and to ask for it a second time.
                log.warning("turn put off, the agent service is away", error=str(error))
                self._say("unreachable", UNREACHABLE, "notice")
                return Later("running")
            log.warning("turn failed", code=error.code, error=str(error))
            self._say_failed(error.message, error.remedy)
            if self._touched:
                await self._end_unseen()
        finally:
            # From here on the row alone tells whoever takes the message next of a stop.
            self._accepted = False
            if self._interrupting is not None:
                self._interrupting.cancel()
                await asyncio.gather(self._interrupting, return_exceptions=True)
        return Ended("failed")

    def stop(self) -> None:
        """Interrupt it, at once or as soon as the agent service knows of it. The row says so
        already: a crash does not forget it."""
        self._stop_asked = True
        if self._accepted and self._interrupting is None:
            self._interrupting = asyncio.create_task(self._interrupt())

    def show_end(self) -> None:
        """Mark the person's message, once all that was said about it is on the platform."""
        if self._end_mark is not None:
            self._mark(self._end_mark)

    def not_shown(self, end: Ended) -> Ended:
        """How it ended, where not all that was to be said is on the platform."""
        if end.status != "done":
            return end
        self._end_mark = "failed"
        return Ended("failed")

    async def _agent(self) -> Ended | Waits | Later:
        job = self.job
        if job.problem:
            return self._refuse()
        self._mark("working")
        if job.notice:
            self._say("budget-turns", job.notice, "notice")
        self._lines.show(self._adapter, job.at, THINKING)
        view = None
        if await self._bring():
            if says_nothing(job.request["prompt"]) and not job.request["attachments"]:
                self.outcome = "not_taken"
                self._say("nothing", NOTHING_LEFT, "error")
                self._end_mark = "failed"
                return Ended("failed")
            view = await self._put()
        if view is None:
            self.outcome = "stopped"
            self._say("stopped", "Stopped before the agent service had it.", "notice")
            self._end_mark = "failed"
            return Ended("cancelled")
        self._accepted = True
        if view.state == "waiting" and view.last_seq <= job.after_seq and not self._stop_asked:
            return Waits(job.after_seq)
        if self._stop_asked:
            self.stop()
        elif job.resumed and view.state == "queued" and await self._behind(job):
            return Later("waiting")
        until_behind = asyncio.timeout(None)
        try:
            async with until_behind:
                ticking = asyncio.create_task(self._tick(until_behind))
                try:
                    return await self._follow()
                finally:
                    ticking.cancel()
        except TimeoutError:
            if not until_behind.expired():
                raise
        return Later("waiting")

    async def _follow(self) -> Ended | Waits:
        job = self.job
        stream = self._client.events(job.turn_id, through=job.after_seq, patience=self._patience())
        async with aclosing(stream) as numbered_events:
            async for numbered in numbered_events:
                event = numbered.event
                await self._show(event)
                if isinstance(event, TurnFinished):
                    ended = self._finished(event)
                    await self._warn(event)
                    return ended
                if isinstance(event, TurnWaiting) and numbered.seq > job.after_seq:
                    return Waits(numbered.seq, self._card)
        raise Untold("The agent service ended the turn without saying how.")

    async def _bring(self) -> bool:
        """The message's files are in the workspace, or named to the sender, and what it asked to
        be read back is in the request; False where it was stopped before. Done once: a turn that
        is put again brings the same."""
        job = self.job
        refused = job.refused
        if (job.said.attachments or job.said.earlier) and not job.fetched:
            self._lines.show(self._adapter, job.at, FETCHING if job.said.attachments else READING)
            brought = await self._attaching.bring(
                job, self._adapter, patience=self._patience(), stopped=lambda: self._stop_asked
            )
            if brought is not None and job.said.earlier:
                quotes = await self._reading.bring(job, self._adapter, lambda: self._stop_asked)
                brought = None if quotes is None else replace(brought, quotes=quotes)
            if brought is None:
                return False
            await self._fetched(job, brought)
            job.request.update(brought.as_request)
            refused = brought.refused
            self._lines.show(self._adapter, job.at, THINKING)
        if refused:
            lines = "\n".join(f"- {plain(line, 400)}" for line in refused)
            self._say("files", f"Not taken:\n\n{lines}", "error")
        return True

    def _refuse(self) -> Ended:
        said = self.job.said
        self._delivery.show(
            self._key("refused"),
            MessageOut(
                self.job.problem,
                tone="notice" if self.job.private else "error",
                only_for=said.sender.identity if self.job.private else None,
            ),
        )
        self.outcome = "not_taken"
        self._end_mark = "failed"
        return Ended("failed")

    async def _put(self) -> TurnView | None:
        """The turn's view, or None when it was stopped while nothing had been sent."""
        patience = self._patience()
        self._touched = self.job.resumed
        while True:
            if self._stop_asked and not self._touched:
                return None
            try:
                request = self.job.request
                await self._tell_deciders(request["workspace"], request["asker"]["person"])
                view = await self._put_once(request)
            except TRANSIENT as error:
                await patience.trouble(error)
            else:
                patience.well()
                return view

    async def _put_once(self, request: dict[str, Any]) -> TurnView:
        try:
            view = await self._client.put_turn(self.job.turn_id, request)
        except TRANSIENT as error:
            self._touched = self._touched or not isinstance(error, Unreached)
            raise
        self._touched = True
        return view

    async def _show(self, event: events.Event) -> None:
        if isinstance(event, TurnStarted):
            self._began = True
        if isinstance(event, (Text, TextDelta)) and not self._said_something:
            self._said_something = True
            self._metrics.first_text(time.monotonic() - self._taken_at)
        if isinstance(event, BudgetUsed):
            self._near.append(event)
            return
        if isinstance(event, TurnFinished):
            event = self._warnings.ended(event, self._asker)
        if isinstance(event, DecisionRequested):
            if event.decision.kind != "network":
                self._card = self._key(f"d-{event.decision.id}")
            # Before its buttons are there: a click must find it.
            await self._remember(self.job, event.decision)
        elif isinstance(event, DecisionApproved):
            event = replace(event, by=await self._name_of(event.by))
        elif isinstance(event, DecisionResolved) and event.decided_by:
            event = replace(event, decided_by=await self._name_of(event.decided_by))
        self._presentation.apply(event)
        if isinstance(event, FileReady):
            await self._give(event)
        if isinstance(event, TurnFinished):
            return
        self._show_now()

    async def _give(self, event: FileReady) -> None:
        """Show a file that the agent sent; one that is on the platform already stays as it is."""
        key = self._key(f"f-{self._given + 1}")
        self._given += 1
        if key in self.job.posts:
            self._sent.add(self._presentation.file(MessageOut("")))
            return
        limit, patience = self._adapter.caps.file_limit, self._patience()
        workspace = str(self.job.request["workspace"])
        while True:
            if event.size > limit:
                post = too_large(event.path, event.size, limit, event.caption)
                break
            try:
                data = await self._files.download(workspace, event.path, limit)
            except TRANSIENT as error:
                await patience.trouble(error)
            except errors.TooLarge as error:
                size = int(error.fields.get("size", event.size))
                post = too_large(event.path, size, limit, event.caption)
                break
            except errors.ServiceError as error:
                post = not_had(event.path, error)
                break
            else:
                patience.well()
                post = sent(event, data)
                break
        self._presentation.file(post)

    async def _tick(self, until_behind: asyncio.Timeout) -> None:
        """While nothing happens it is still shown that something goes on, and for how long; what
        cannot begin before a question is answered elsewhere holds no place for it."""
        await asyncio.sleep(BEHIND_AFTER)
        while True:
            if not self._began and not self._stop_asked and await self._behind(self.job):
                until_behind.reschedule(asyncio.get_running_loop().time())
                return
            await asyncio.sleep(TICK_SECONDS)
            self._show_now()

    def _show_now(self) -> None:
        self._show_posts(())
        if status := self._presentation.status():
            self._lines.show(self._adapter, self.job.at, status)

    def _show_posts(self, choices_at_end: tuple[Choice, ...]) -> None:
        posts = self._presentation.posts()
        for place, (suffix, post) in enumerate(posts, 1):
            if suffix in self._sent:
                continue
            if place == len(posts) and choices_at_end:
                post = replace(post, choices=(*post.choices, *choices_at_end))
            self._delivery.show(self._key(suffix), post)

    @property
    def _asker(self) -> str:
        return str(self.job.request.get("asker", {}).get("person", ""))

    async def _warn(self, event: TurnFinished) -> None:
        """Of budgets that are nearly used up, below what was said; not where the end says that
        one is."""
        for used in self._near if event.outcome != "over_budget" else ():
            if told := await self._warnings.of(self.job.turn_id, self._asker, used):
                self._say(f"budget-{used.whose}", told, "notice")

    def _finished(self, event: TurnFinished) -> Ended:
        self.outcome = event.outcome
        stopped = event.outcome == "interrupted" and event.reason != "interrupted"
        again = event.outcome in ("failed", "timed_out") or (
            event.outcome == "interrupted" and not stopped
        )
        self._show_posts((self._retry(),) if again else ())
        if event.outcome == "completed":
            self._end_mark = "done"
            return Ended("done")
        self._end_mark = "failed"
        return Ended("cancelled" if stopped else "failed")

    def _say_failed(self, message: str, remedy: str) -> None:
        """End it as the agent service would: no post is left that seems to go on."""
        self.outcome = "unknown"
        self._presentation.apply(TurnFinished("failed", "", message, remedy))
        self._show_posts((self._retry(),))
        self._end_mark = "failed"

    async def broken(self) -> Ended:
        """Tell the person that the bridge itself failed at this message."""
        self._delivery.finish()
        self._say("broken", BROKEN, "error", (self._retry(),))
        self._end_mark = "failed"
        await self._end_unseen()
        return Ended("failed")

    async def _end_unseen(self) -> None:
        """Have the agent not go on where nobody sees it."""
        try:
            await self._client.interrupt(self.job.turn_id)
        except errors.ServiceError as error:
            log.info("not interrupted", error=str(error))

    def _key(self, suffix: str) -> str:
        return f"{self.job.turn_id}.{suffix}"

    def _say(
        self,
        suffix: str,
        text: str,
        tone: Literal["notice", "error"],
        choices: tuple[Choice, ...] = (),
    ) -> None:
        self._delivery.show(self._key(suffix), MessageOut(text, tone=tone, choices=choices))

    def _retry(self) -> Choice:
        return Choice(f"retry:{self.job.message}", "Retry", "primary")

    def _patience(self) -> Patience:
        return Patience(
            self._patience_limit,
            tell=lambda: self._say("unreachable", UNREACHABLE, "notice"),
            tell_well=lambda: self._say("unreachable", REACHABLE, "notice"),
            told=self._was_away,
        )

    def _mark(self, mark: Mark) -> None:
        said = self.job.said
        if said.keys:
            self._lines.mark(self._adapter, self.job.at, said.keys[0], mark)

    async def _interrupt(self) -> None:
        patience = Patience(self._patience_limit)
        while True:
            try:
                # Only the person whose conversation it is can stop it.
                await self._client.interrupt(self.job.turn_id, self._asker)
            except TRANSIENT as error:
                await patience.trouble(error)
            except errors.ServiceError as error:
                log.info("interrupt refused", error=str(error))
                return
            else:
                return


def shown_decision(decision: Decision) -> dict[str, object]:
    """A decision as it is kept for its buttons."""
    return asdict(decision)
