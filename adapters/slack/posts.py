"""Posts: each once a key, edited in place, private ones shown to one person."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from adapters.contract import (
    Address,
    DeliveryError,
    Gone,
    Identity,
    MessageOut,
    NotAllowed,
    PostRef,
    TryLater,
)
from adapters.slack import thread as slack_thread
from adapters.slack.api import Api, Bot, Refused, TooFast
from adapters.slack.blocks import Rendered, bare, render, simpler
from adapters.slack.forms import key_in, metadata
from adapters.slack.pace import Kind, Pace
from adapters.slack.streams import CONFLICT, Streams
from adapters.slack.uploads import Uploads

log = structlog.get_logger()
MOST_KNOWN = 20_000
FRESH_SECONDS = 8.0
"""A message that this process stored so recently was nobody else's before: another node takes a
conversation over after 12 s at the soonest."""
PATIENCE = 3.0
"""Seconds that an edit in between waits for its place; then the bridge comes with a newer one."""
LOOK_BACK = 86_400.0
"""Seconds, for what answers no message."""
_NOT_THERE = {"user_not_in_channel", "not_in_channel"}
_BLOCKS = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "unknown_block"}


class Posts:
    """Raises `DeliveryError`. A key is kept in the post's metadata: after a crash, or when a call
    broke off, the thread is read before anything is posted again."""

    def __init__(
        self,
        api: Api,
        pace: Pace,
        uploads: Uploads,
        streams: Streams,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._pace = pace
        self._uploads = uploads
        self._streams = streams
        self._clock = clock
        self._refs: OrderedDict[str, PostRef] = OrderedDict()
        self._keys: OrderedDict[str, str] = OrderedDict()
        """The key for a post's ref."""
        self._private: OrderedDict[str, str] = OrderedDict()
        """What a private post says, by its ref."""
        self._edited: OrderedDict[str, None] = OrderedDict()
        self._tried: set[str] = set()
        self._looked: OrderedDict[str, float] = OrderedDict()
        self._direct: OrderedDict[str, str] = OrderedDict()

    def direct(self, channel: str, user: str) -> None:
        """Nobody but this person and the bot can read there."""
        _keep(self._direct, channel, user)

    def place(self, bot: Bot, channel: str, user: str) -> Address:
        """A channel itself, outside any thread, as this person sees it."""
        return Address("slack", bot.team, channel, direct=self._direct.get(channel) == user)

    def fresh(self, message_key: str, whose: Identity) -> None:
        """This process has just stored that message: nothing can have been posted about it."""
        _keep(self._looked, message_key, self._clock())
        self._streams.asked(message_key, whose.user, whose.tenant)

    async def send(self, bot: Bot, to: Address, message: MessageOut, key: str) -> PostRef:
        """See the port."""
        if (known := self._refs.get(key)) is not None:
            await self._files(bot, to, known, message)
            return known
        whom = message.only_for
        if whom is not None and not (to.direct and self._direct.get(to.channel) == whom.user):
            return await self._send_private(bot, to, message, whom, key)
        if self._must_look(message, key) and (found := await self._find(bot, to, message, key)):
            await self._files(bot, to, found, message)
            return found
        self._tried.add(key)
        ref = await self._streams.begin(to, message) if self._streams.fits(to, message) else None
        if ref is None:
            ref = await self._post(to.channel, to.thread, message, key)
        self._know(key, ref)
        self._tried.discard(key)
        if message.answers:
            _keep(self._looked, _scope(message, key), self._clock())
        await self._files(bot, to, ref, message)
        return ref

    async def edit(self, bot: Bot, to: Address, ref: PostRef, message: MessageOut) -> None:
        """See the port. A private post cannot be changed: what it says newly is posted again."""
        channel, _, user = split(ref)
        if user:
            if self._private.get(ref.id) != render(message).text:
                await self._whisper(channel, to.thread, user, message)
                _keep(self._private, ref.id, render(message).text)
            return
        _keep(self._edited, ref.id, None)
        if self._streams.is_open(ref):
            if await self._streams.grow(ref, message):
                return
            await self._streams.end(ref)
        if not message.final and (wait := self._pace.wait("edit")) > PATIENCE:
            raise TryLater("Slack bears no more edits a minute.", after=min(wait, 10.0))
        await self._pace.turn("edit")
        shown = render(message)
        try:
            await self._update(ref, message, shown)
        except Refused as error:
            if error.code == CONFLICT:
                # An earlier process began it as a stream.
                await self._streams.end(ref)
                await self._update(ref, message, shown, stream=True)
            else:
                await self._update(ref, message, _instead(error, shown, message))
        await self._files(bot, to, ref, message)

    async def _update(
        self, ref: PostRef, message: MessageOut, shown: Rendered, *, stream: bool = False
    ) -> None:
        channel, ts, _ = split(ref)
        key = self._keys.get(ref.id, "")
        forms = any(choice.form for choice in message.choices)
        await self._ask(
            "edit",
            self._api.web.chat_update(
                channel=channel,
                ts=ts,
                text=shown.text,
                blocks=shown.blocks or None,
                # What was a stream gets some in any case: one of ours without any is an orphan.
                metadata=metadata(key, message.choices) if key or forms or stream else None,
            ),
        )

    async def _files(self, bot: Bot, to: Address, ref: PostRef, message: MessageOut) -> None:
        channel, ts, user = split(ref)
        if not user:
            thread = to.thread if channel == to.channel else ""
            await self._uploads.bring(bot, channel, thread, ts, message.files)

    async def _post(self, channel: str, thread: str, message: MessageOut, key: str) -> PostRef:
        await self._pace.turn("post", channel)
        shown = render(message)

        async def post(shown: Rendered) -> Mapping[str, Any]:
            return await self._ask(
                "post",
                self._api.web.chat_postMessage(
                    channel=channel,
                    thread_ts=thread or None,
                    text=shown.text,
                    blocks=shown.blocks or None,
                    metadata=metadata(key, message.choices),
                    unfurl_links=False,
                    unfurl_media=False,
                ),
            )

        try:
            said = await post(shown)
        except Refused as error:
            said = await post(_instead(error, shown, message))
        ref = PostRef(f"{said.get('channel') or channel}:{said['ts']}")
        self._know(key, ref)
        self._uploads.begin(*split(ref)[:2])
        return ref

    async def _send_private(
        self, bot: Bot, to: Address, message: MessageOut, whom: Identity, key: str
    ) -> PostRef:
        """Shown to one person, where they are. It is gone when they load Slack anew, so what has
        buttons or files goes to their direct messages, as does what cannot be shown there."""
        if whom.platform != "slack":
            raise NotAllowed("That person has no account in Slack.")
        if not message.choices and not message.files:
            try:
                ref = await self._whisper(to.channel, to.thread, whom.user, message)
            except Gone:
                pass
            except NotAllowed as error:
                if error.missing not in _NOT_THERE:
                    raise
            else:
                self._know(key, ref)
                _keep(self._private, ref.id, render(message).text)
                return ref
        ref = await self._post(whom.user, "", message, key)
        await self._files(bot, to, ref, message)
        return ref

    async def whisper(self, at: Address, user: str, message: MessageOut) -> None:
        """Tell one person something that is not worth keeping. Never raises."""
        try:
            await self._whisper(at.channel, at.thread, user, message)
        except DeliveryError as error:
            log.info("not told", error=str(error))

    async def _whisper(self, channel: str, thread: str, user: str, message: MessageOut) -> PostRef:
        await self._pace.turn("post", channel)
        shown = render(message)
        said = await self._ask(
            "post",
            self._api.web.chat_postEphemeral(
                channel=channel,
                user=user,
                thread_ts=thread or None,
                text=shown.text,
                blocks=shown.blocks,
            ),
        )
        return PostRef(f"{channel}:{said.get('message_ts', '')}:{user}")

    def _must_look(self, message: MessageOut, key: str) -> bool:
        """Whether an earlier process, or another node, may have posted it already."""
        if key in self._tried or not message.answers:
            return True
        known = (message.answers, _scope(message, key))
        looked = max(self._looked.get(name, 0.0) for name in known)
        return self._clock() - looked > FRESH_SECONDS

    async def _find(self, bot: Bot, to: Address, message: MessageOut, key: str) -> PostRef | None:
        """The post of this key in the thread. A stream carries no key until it is over: one of
        ours that nobody has named is this one, begun by a process that died before it could say
        so, since whoever takes up a turn edits the posts it knows before it makes another."""
        _, _, asked_at = message.answers.rpartition(":")
        oldest = asked_at or f"{self._clock() - LOOK_BACK:.6f}"
        orphan: PostRef | None = None
        async for one in slack_thread.replies(self._api, to.channel, to.thread, oldest):
            ref = PostRef(f"{to.channel}:{one['ts']}")
            if not is_ours(bot, one) or str(one["ts"]) == to.thread:
                continue
            if carried := key_in(one):
                self._know(carried, ref)
            elif not (one.get("metadata") or one.get("files") or self._is_known(ref)):
                orphan = ref
        found = self._refs.get(key)
        if found is None and orphan is not None and message.answers and message.tone == "answer":
            log.info("a stream that was left alone is taken up", key=key)
            self._know(key, orphan)
            found = orphan
        return found

    def _is_known(self, ref: PostRef) -> bool:
        return ref.id in self._keys or ref.id in self._edited

    def _know(self, key: str, ref: PostRef) -> None:
        _keep(self._refs, key, ref)
        _keep(self._keys, ref.id, key)

    async def _ask(self, kind: Kind, call: Any) -> Mapping[str, Any]:
        try:
            return await self._api.ask(call)
        except TooFast as error:
            self._pace.block(kind, error.after)
            raise


def _instead(error: Refused, shown: Rendered, message: MessageOut) -> Rendered:
    """What may be taken where these blocks were not. Raises the error where nothing would."""
    if error.code not in _BLOCKS:
        raise error
    if error.code == "msg_blocks_too_long" and not message.choices:
        return bare(shown)
    return simpler(shown)


def _scope(message: MessageOut, key: str) -> str:
    """All posts of one turn: while this process brings them, nobody else does."""
    return f"{message.answers} {key.rpartition('.')[0]}"


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


def _keep(kept: OrderedDict[str, Any], name: str, value: Any) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > MOST_KNOWN:
        kept.popitem(last=False)
