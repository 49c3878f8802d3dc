"""Posts that grow by appending, where the workspace has them. An answer that cannot go on like
that becomes an ordinary post, which is edited.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog

from adapters.contract import (
    FOLDED,
    Address,
    DeliveryError,
    Gone,
    MessageOut,
    NotAllowed,
    PostRef,
    Step,
)
from adapters.slack.api import Api, Refused, TooFast
from adapters.slack.blocks import stop_row
from adapters.slack.pace import Kind, Pace
from adapters.slack.words import calling_nobody, clipped

log = structlog.get_logger()
LONGEST_SECONDS = 3000.0
"""Slack ends a stream after an hour."""
WITHOUT_SECONDS = 600.0
"""A workspace that has no streams is not asked again for so long."""
MOST_PEOPLE = 5_000
PLACEHOLDER = "…"
CONFLICT = "streaming_state_conflict"
_STATES: dict[str, Literal["pending", "in_progress", "complete", "error"]] = {
    "running": "in_progress",
    "done": "complete",
    "failed": "error",
    "waiting": "pending",
}
_LAST_FENCE = re.compile(r"\n? {0,3}(`{3,}|~{3,})[ \t]*\Z")


@dataclass(slots=True)
class _Stream:
    began: float
    text: str = ""
    steps: dict[str, Step] = field(default_factory=dict)
    doubtful: bool = False
    """What it shows is not known for sure."""


class Streams:
    """Raises `DeliveryError` where the bridge should come again."""

    def __init__(self, api: Api, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._pace = pace
        self._clock = clock
        self._open: dict[str, _Stream] = {}
        self._people: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._without_until = 0.0
        self._buttons = True

    def asked(self, message_key: str, user: str, team: str) -> None:
        """Who wrote a message: Slack shows a stream in a channel to its asker as it grows."""
        self._people[message_key] = (user, team)
        if len(self._people) > MOST_PEOPLE:
            self._people.popitem(last=False)

    def fits(self, to: Address, message: MessageOut) -> bool:
        """Whether this post can be one that grows."""
        return (
            not message.final
            and message.tone == "answer"
            and message.only_for is None
            and not (message.choices or message.files)
            and bool(to.thread)
            and message.answers in self._people
            and self._clock() >= self._without_until
        )

    async def begin(self, to: Address, message: MessageOut) -> PostRef | None:
        """The new post; None where this workspace has no streams."""
        user, team = self._people[message.answers]
        stream = _Stream(self._clock())
        chunks = self._news(stream, message)
        if self._buttons:
            chunks = [{"type": "blocks", "blocks": [stop_row()]}, *chunks]
        await self._pace.turn("post", to.channel)
        try:
            said = await self._ask(
                "start",
                self._api.web.chat_startStream(
                    channel=to.channel,
                    thread_ts=to.thread,
                    recipient_user_id=user,
                    recipient_team_id=team,
                    task_display_mode="timeline",
                    chunks=chunks,
                ),
            )
        except Refused as error:
            if self._buttons and error.code == "invalid_chunks":
                self._buttons = False
                return await self.begin(to, message)
            self._has_none(error)
            return None
        except NotAllowed as error:
            self._has_none(error)
            return None
        ref = PostRef(f"{said.get('channel') or to.channel}:{said['ts']}")
        self._open[ref.id] = stream
        return ref

    async def grow(self, ref: PostRef, message: MessageOut) -> bool:
        """Append what is new. False where the post is no stream any more, or cannot go on as one:
        whoever calls then ends it and edits it. A stream that nothing is added to expires, so
        this is the ordinary end of one in a long call."""
        stream = self._open.get(ref.id)
        if stream is None:
            return False
        if (
            message.final
            or message.choices
            or message.files
            or stream.doubtful
            or self._clock() - stream.began > LONGEST_SECONDS
            or not _streamed(message).startswith(stream.text)
        ):
            return False
        before = _Stream(stream.began, stream.text, dict(stream.steps))
        chunks = self._news(stream, message)
        if not chunks:
            return True
        channel, _, ts = ref.id.partition(":")
        try:
            await self._ask(
                "append", self._api.web.chat_appendStream(channel=channel, ts=ts, chunks=chunks)
            )
        except (Refused, NotAllowed) as error:
            log.info("a stream goes on as a post", why=str(error))
            return False
        except Gone:
            del self._open[ref.id]
            raise
        except TooFast:
            self._open[ref.id] = before
            raise
        except DeliveryError:
            # It may have been heard: what is said next must not be appended twice.
            stream.doubtful = True
            return False
        return True

    async def end(self, ref: PostRef) -> None:
        """It is an ordinary post from now on. Raises `DeliveryError`, but not where it was one."""
        channel, _, ts = ref.id.partition(":")
        try:
            await self._ask("append", self._api.web.chat_stopStream(channel=channel, ts=ts))
        except (Refused, NotAllowed) as error:
            log.debug("stream not ended", why=str(error))
        self._open.pop(ref.id, None)

    def is_open(self, ref: PostRef) -> bool:
        return ref.id in self._open

    def _news(self, stream: _Stream, message: MessageOut) -> list[dict[str, Any]]:
        """What the stream does not show yet; it counts as shown from now on."""
        chunks: list[dict[str, Any]] = []
        for step in message.steps:
            if step.id != FOLDED and stream.steps.get(step.id) != step:
                stream.steps[step.id] = step
                chunks.append(_task(step))
        text = _streamed(message)
        if more := text[len(stream.text) :]:
            chunks.append({"type": "markdown_text", "text": more})
        stream.text = text
        return chunks

    def _has_none(self, error: DeliveryError) -> None:
        log.info("no streams in this workspace for now", why=str(error))
        self._without_until = self._clock() + WITHOUT_SECONDS

    async def _ask(self, kind: Kind, call: Any) -> dict[str, Any]:
        await self._pace.turn(kind)
        try:
            return await self._api.ask(call)
        except TooFast as error:
            self._pace.block(kind, error.after)
            raise


def _streamed(message: MessageOut) -> str:
    """What of a text can be appended for good. A fence at its end may be there only because the
    text ends in the middle of a code block for now."""
    if message.markdown == PLACEHOLDER:
        return ""
    return _LAST_FENCE.sub("", calling_nobody(message.markdown))


def _task(step: Step) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "task_update",
        "id": step.id[:200],
        "title": clipped(" ".join(calling_nobody(step.title).split()) or "…", 200),
        "status": _STATES[step.state],
    }
    if step.detail:
        made["details"] = clipped(" ".join(calling_nobody(step.detail).split()), 300)
    return made
