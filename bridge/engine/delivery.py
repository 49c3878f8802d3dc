"""The outbox of one message: what its posts should show, brought to the platform.

Each post is sent once by its key and edited afterwards, no faster than the platform bears; an
edit carries the last state, so states in between may be skipped and the final one never is.
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

log = structlog.get_logger()

TRIES = 6
LONGEST_PAUSE = 60.0
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
    ) -> None:
        """`known` posts are on the platform already and are edited; `record` keeps a new post's
        ref; `report` hears of failures and, with None, that it works again. `answers` is
        the message's key on the platform. `again`: an earlier process may have sent posts that
        it did not record. `sure` returns once nobody else can be at work on these posts."""
        self._adapter = adapter
        self._at = at
        self._known = known
        self._record = record
        self._report = report
        self._answers = answers
        self._again_sent = again
        self._sure = sure
        self.refused: dict[str, DeliveryError] = {}
        """Why the platform will not have a post, by its key: trying again cannot help."""
        self._posts: dict[str, _Post] = {}
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._pump: asyncio.Task[None] | None = None

    def show(self, key: str, message: MessageOut) -> None:
        """From now on the post `key` should look like this. Returns at once."""
        message = replace(message, answers=self._answers)
        post = self._posts.get(key)
        if post is None:
            self._posts[key] = _Post(key, message, ref=self._known.get(key))
        elif post.wanted == message:
            return
        else:
            post.wanted = message
            post.failures = 0
        self._settled.clear()
        self._changed.set()
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())

    def finish(self) -> None:
        """Nothing more is coming: what was shown so far stays as it is, for good."""
        for post in list(self._posts.values()):
            self.show(post.key, replace(post.wanted, status="", final=True))

    async def flush(self) -> None:
        """Returns when every post shows its last state, or was given up for good."""
        await self._settled.wait()

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
        message = post.wanted
        try:
            if post.ref is None:
                sent_before, post.sent_before = post.sent_before or self._again_sent, True
                post.ref = await self._adapter.send(self._at, message, _name(post))
                await self._record(post.key, post.ref)
                if sent_before:
                    return  # it may be an older state that was found: an edit brings this one
            else:
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
            self.refused[post.key] = error
            self._give_up(post, error)
            return
        except NotAllowed as error:
            self.refused[post.key] = error
            self._give_up(post, error)
            return
        except DeliveryError as error:
            await self._again(post, error)
            return
        except Exception as error:  # noqa: BLE001 - an adapter's own mistake must not stop a turn
            await self._again(post, DeliveryError(f"{type(error).__name__}: {error}"))
            return
        post.shown = message
        post.failures = 0
        post.edited_at = asyncio.get_running_loop().time()
        self._report(self._adapter.name, None, True)

    async def _again(self, post: _Post, error: DeliveryError) -> None:
        post.failures += 1
        if post.failures >= TRIES:
            self._give_up(post, error)
            return
        self._report(self._adapter.name, error, False)
        log.warning("delivery failed, trying again", key=post.key, error=str(error))
        await asyncio.sleep(min(0.25 * 2**post.failures, LONGEST_PAUSE))

    def _give_up(self, post: _Post, error: DeliveryError) -> None:
        self._report(self._adapter.name, error, True)
        log.error("delivery given up", post=post.key, error=str(error), remedy=error.remedy)
        post.shown = post.wanted


def _name(post: _Post) -> str:
    return f"{post.key}~{post.replaced}" if post.replaced else post.key
