"""The outbox of one message: what its posts should show, brought to the platform.

Each post is sent once by its key and edited afterwards, no faster than the platform bears; an
edit carries the last state, so states in between may be skipped and the final one never is. What
the platform refuses for good is brought as words alone, and said to be missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from adapters.contract import (
    Adapter,
    Address,
    DeliveryError,
    Gone,
    MessageOut,
    NotAllowed,
    PostRef,
    TryLater,
)
from bridge.engine.job import LeaseLost
from bridge.present.fit import fit
from bridge.present.lost import bare, lost

log = structlog.get_logger()

TRIES = 6
BARE_TRIES = 2
"""For what stands in for a post that was given up."""
LONGEST_PAUSE = 60.0
CALL_SECONDS = 40.0
"""That a platform has for one call, besides the time its files take."""
BYTES_A_SECOND = 64 * 1024
LOST = ".lost"
Record = Callable[[str, PostRef], Awaitable[None]]
Report = Callable[[str, DeliveryError | None, bool], None]
"""Takes an adapter's name, what failed or None where it worked, and whether that is for good."""


@dataclass(slots=True)
class _Post:
    key: str
    wanted: MessageOut
    shown: MessageOut | None = None
    ref: PostRef | None = None
    edited_at: float = float("-inf")
    replaced: int = 0
    failures: int = 0
    sent_before: bool = False
    """An earlier try may have posted it, as it looked then."""
    plain: bool = False
    """Of what it should show only the words are brought."""
    answerable: bool = False
    """Its buttons are there."""

    @property
    def settled(self) -> bool:
        return self.wanted == self.shown


class Delivery:
    """Posts of one message at one address, in the order they were first shown."""

    def __init__(
        self,
        adapter: Adapter,
        at: Address,
        *,
        known: Mapping[str, PostRef],
        record: Record,
        report: Report,
        answers: str = "",
        again: bool = False,
        sure: Callable[[], Awaitable[None]] | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """`known` posts are on the platform already and are edited; `record` keeps a new post's
        ref; `report` hears of failures and, with None, that it works again. `answers` is
        the message's key on the platform. `again`: an earlier process may have sent posts that
        it did not record. `sure` returns once nobody else can be at work on these posts. A call
        that takes longer than `call_seconds` counts as failed."""
        self._adapter = adapter
        self._at = at
        self._known = known
        self._record = record
        self._report = report
        self._answers = answers
        self._again_sent = again
        self._sure = sure
        self._call_seconds = call_seconds
        self.refused: dict[str, DeliveryError] = {}
        """Why posts are not there as they should look, by key: nothing more is tried."""
        self._posts: dict[str, _Post] = {}
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._pump: asyncio.Task[None] | None = None
        self._broken: Exception | None = None

    def show(self, key: str, message: MessageOut) -> None:
        """From now on the post `key` should look like this. Returns at once. A text that is too
        long for a post is its beginning, and a file."""
        caps = self._adapter.caps
        message = replace(message, answers=self._answers)
        message = fit(message, caps.text_limit, caps.file_limit)
        post = self._posts.get(key)
        if post is None:
            ref = self._known.get(key)
            self._posts[key] = _Post(key, message, ref=ref, answerable=ref is not None)
        elif post.wanted == message:
            return
        else:
            post.wanted = message
            post.failures, post.plain = 0, False
        self._settled.clear()
        self._changed.set()
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())

    def finish(self) -> None:
        """Nothing more is coming: what was shown so far stays as it is, for good."""
        for post in list(self._posts.values()):
            self.show(post.key, replace(post.wanted, status="", final=True))

    async def flush(self) -> bool:
        """Returns when every post shows its last state, or was given up for good; whether all
        arrived as they should look (see `refused`). Raises what broke the delivery itself."""
        await self._settled.wait()
        if self._broken is not None:
            raise self._broken
        return not self.refused

    def answerable(self, key: str) -> bool:
        """Whether the buttons of a post that was shown can be pressed, after a `flush`."""
        post = self._posts.get(key)
        return post is None or post.answerable

    async def close(self) -> None:
        """Drop what was not sent yet; nothing is sent after this returns."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            self._changed.clear()
            due, pause = self._next(clock())
            if due is not None:
                try:
                    await self._bring(due)
                except LeaseLost:
                    return  # the worker is told so too; its posts are somebody else's now
                except Exception as error:  # noqa: BLE001 - whoever waits for it must hear of it
                    self._broken = error
                    self._settled.set()
                    return
                continue
            if pause is None:
                self._settled.set()
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _next(self, now: float) -> tuple[_Post | None, float | None]:
        """The post to bring now, or how long until one is due; (None, None) when all is said."""
        pause: float | None = None
        for post in self._posts.values():
            if post.settled:
                continue
            left = post.edited_at + self._adapter.caps.edit_interval - now
            if left <= 0 or post.wanted.final:
                return post, None
            pause = left if pause is None else min(pause, left)
        return None, pause

    async def _bring(self, post: _Post) -> None:
        if self._sure is not None:
            await self._sure()
        wanted = post.wanted
        message = bare(wanted) if post.plain else wanted
        size = sum(len(file.data) for file in message.files)
        patience = asyncio.timeout(self._call_seconds + size / BYTES_A_SECOND)
        try:
            if post.ref is None:
                sent_before, post.sent_before = post.sent_before or self._again_sent, True
                async with patience:
                    ref = await self._adapter.send(self._at, message, _name(post))
                post.ref = ref
                await self._record(post.key, ref)
                if sent_before:
                    return  # it may be an older state that was found: an edit brings this one
            else:
                async with patience:
                    await self._adapter.edit(self._at, post.ref, message)
        except LeaseLost:
            raise
        except TryLater as error:
            self._report(self._adapter.name, error, False)
            await asyncio.sleep(min(max(error.after, 0.01), LONGEST_PAUSE))
            return
        except Gone as error:
            if post.ref is not None and post.replaced < TRIES:
                # Somebody deleted it: what it says is still owed.
                post.ref = None
                post.replaced += 1
                return
            self._give_up(post, wanted, error)
            return
        except NotAllowed as error:
            self._give_up(post, wanted, error)
            return
        except DeliveryError as error:
            await self._again(post, wanted, error)
            return
        except TimeoutError:
            await self._again(post, wanted, DeliveryError("The platform did not answer in time."))
            return
        except Exception as error:  # noqa: BLE001 - an adapter's own mistake must not stop a turn
            await self._again(post, wanted, DeliveryError(f"{type(error).__name__}: {error}"))
            return
        post.shown, post.answerable = wanted, bool(message.choices)
        post.failures = 0
        post.edited_at = asyncio.get_running_loop().time()
        self._report(self._adapter.name, None, True)
        if message is wanted:
            self.refused.pop(post.key, None)
        elif post.key in self.refused:
            self._say_lost(post, wanted, self.refused[post.key])

    async def _again(self, post: _Post, wanted: MessageOut, error: DeliveryError) -> None:
        post.failures += 1
        if post.failures >= TRIES:
            self._give_up(post, wanted, error)
            return
        self._report(self._adapter.name, error, False)
        log.warning("delivery failed, trying again", key=post.key, error=str(error))
        await asyncio.sleep(min(0.25 * 2**post.failures, LONGEST_PAUSE))

    def _give_up(self, post: _Post, wanted: MessageOut, error: DeliveryError) -> None:
        self._report(self._adapter.name, error, True)
        log.error("delivery given up", post=post.key, error=str(error), remedy=error.remedy)
        if not wanted.final or post.wanted is not wanted:
            post.shown = wanted  # what it shows next may be taken
            return
        self.refused.setdefault(post.key, error)
        if not post.plain and bare(wanted) != wanted and not isinstance(error, Gone):
            post.plain, post.failures = True, TRIES - BARE_TRIES
            return
        post.shown = wanted
        self._say_lost(post, wanted, self.refused[post.key])

    def _say_lost(self, post: _Post, wanted: MessageOut, error: DeliveryError) -> None:
        key = f"{post.key}{LOST}"
        if post.key.endswith(LOST) or key in self._posts:
            return
        self.show(key, lost(wanted, error))
        self._posts[key].failures = TRIES - BARE_TRIES


def _name(post: _Post) -> str:
    return f"{post.key}~{post.replaced}" if post.replaced else post.key
