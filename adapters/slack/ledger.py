"""Which posts there are: by their keys, from memory or read back from the thread."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog

from adapters.contract import Address, Gone, MessageOut, PostRef
from adapters.slack import thread as slack_thread
from adapters.slack.api import Api, Bot
from adapters.slack.arrivals import Arrivals
from adapters.slack.forms import key_in

log = structlog.get_logger()
T = TypeVar("T")
MOST_KNOWN = 20_000
FRESH_SECONDS = 8.0
"""A message that this process stored so recently was nobody else's before: another node takes a
conversation over after 12 s at the soonest."""
LOOK_BACK = 86_400.0
"""Seconds, for what answers no message."""
_TIME = re.compile(r"\d+\.\d+")


class Ledger:
    def __init__(
        self, api: Api, arrivals: Arrivals, clock: Callable[[], float] = time.time
    ) -> None:
        self._api = api
        self._arrivals = arrivals
        self._clock = clock
        self._refs: OrderedDict[str, PostRef] = OrderedDict()
        self._keys: OrderedDict[str, str] = OrderedDict()
        """The key for a post's ref."""
        self._edited: OrderedDict[str, None] = OrderedDict()
        self._tried: set[str] = set()
        self._looked: OrderedDict[str, float] = OrderedDict()

    def ref(self, key: str) -> PostRef | None:
        return self._refs.get(key)

    def key(self, ref: PostRef) -> str:
        """Empty for a post that an earlier process made."""
        return self._keys.get(ref.id, "")

    def named(self, ref: PostRef) -> None:
        """The bridge knows this post."""
        keep(self._edited, ref.id, None)

    def trying(self, key: str) -> None:
        """A call that may make this post begins: if it breaks off, it may have been heard."""
        self._tried.add(key)

    def made(self, key: str, ref: PostRef, message: MessageOut) -> None:
        """The post is there."""
        self.know(key, ref)
        self._tried.discard(key)
        if message.answers:
            keep(self._looked, _scope(message, key), self._clock())

    def know(self, key: str, ref: PostRef) -> None:
        keep(self._refs, key, ref)
        keep(self._keys, ref.id, key)

    async def find(self, bot: Bot, to: Address, message: MessageOut, key: str) -> PostRef | None:
        """The post of this key, if an earlier process, another node or a call that broke off may
        have made it. Raises `DeliveryError`.

        A stream carries no key until it is over: one of ours that nobody has named is this one,
        begun by a process that died before it could say so, since whoever takes up a turn edits
        the posts it knows before it makes another.
        """
        if not await self._must_look(message, key):
            return None
        asked_at = message.answers.rpartition(":")[2]
        since = asked_at if _TIME.fullmatch(asked_at) else f"{self._clock() - LOOK_BACK:.6f}"
        orphan: PostRef | None = None
        async for one in slack_thread.replies(self._api, to.channel, to.thread, since):
            ref = PostRef(f"{to.channel}:{one['ts']}")
            if not is_ours(bot, one) or str(one["ts"]) == to.thread:
                continue
            if carried := key_in(one):
                self.know(carried, ref)
            elif not (one.get("metadata") or one.get("files") or self._is_known(ref)):
                orphan = ref
        found = self._refs.get(key)
        if found is None and orphan is not None and message.answers and message.tone == "answer":
            log.info("a stream that was left alone is taken up", key=key)
            self.know(key, orphan)
            found = orphan
        return found

    async def _must_look(self, message: MessageOut, key: str) -> bool:
        if key in self._tried or not message.answers:
            return True
        looked = self._looked.get(_scope(message, key), 0.0)
        if self._clock() - looked <= FRESH_SECONDS:
            return False
        return await self._arrivals.age(message.answers) > FRESH_SECONDS

    def _is_known(self, ref: PostRef) -> bool:
        return ref.id in self._keys or ref.id in self._edited


def split(ref: PostRef) -> tuple[str, str, str]:
    """(channel, ts, the one person who sees it). Raises `Gone` for what is no ref of Slack."""
    channel, _, rest = ref.id.partition(":")
    ts, _, user = rest.partition(":")
    if not channel or not ts:
        raise Gone("This post is none of Slack's.")
    return channel, ts, user


def is_ours(bot: Bot, message: Mapping[str, Any]) -> bool:
    """Whether the bot itself wrote it."""
    return message.get("user") == bot.user or (bool(bot.bot) and message.get("bot_id") == bot.bot)


def keep(kept: OrderedDict[str, T], name: str, value: T) -> None:
    """Remember the newest `MOST_KNOWN`."""
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > MOST_KNOWN:
        kept.popitem(last=False)


def _scope(message: MessageOut, key: str) -> str:
    """All posts of one turn: while this process brings them, nobody else does."""
    return f"{message.answers} {key.rpartition('.')[0]}"
