"""Posts: each once a key, edited in place, private ones shown to one person."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from adapters.slack.api import Api, Bot, Refused, TooFast
from adapters.slack.arrivals import Arrivals
from adapters.slack.blocks import Rendered, bare, render, simpler
from adapters.slack.forms import metadata
from adapters.slack.ledger import Ledger, keep, split
from adapters.slack.pace import Kind, Pace
from adapters.slack.streams import CONFLICT, Streams
from adapters.slack.uploads import Uploads

log = structlog.get_logger()
STATUS_SECONDS = 30.0
"""Between two edits that would change nothing but the status."""
PATIENCE = 3.0
"""Seconds that an edit in between waits for its place; then the bridge comes with a newer one."""
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
        arrivals: Arrivals,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._pace = pace
        self._uploads = uploads
        self._streams = streams
        self._clock = clock
        self._ledger = Ledger(api, arrivals)
        self._private: OrderedDict[str, str] = OrderedDict()
        """What a private post says, by its ref."""
        self._shown: OrderedDict[str, tuple[MessageOut, float]] = OrderedDict()
        """How a post was last edited, but for its status, and when."""
        self._direct: OrderedDict[str, str] = OrderedDict()

    def direct(self, channel: str, user: str) -> None:
        """Nobody but this person and the bot can read there."""
        keep(self._direct, channel, user)

    def place(self, bot: Bot, channel: str, user: str) -> Address:
        """A channel itself, outside any thread, as this person sees it."""
        return Address("slack", bot.team, channel, direct=self._direct.get(channel) == user)

    async def send(self, bot: Bot, to: Address, message: MessageOut, key: str) -> PostRef:
        """See the port."""
        if (known := self._ledger.ref(key)) is not None:
            await self._files(bot, to, known, message)
            return known
        whom = message.only_for
        if whom is not None and not (to.direct and self._direct.get(to.channel) == whom.user):
            return await self._send_private(bot, to, message, whom, key)
        ref = await self._ledger.find(bot, to, message, key)
        if ref is None:
            self._ledger.trying(key)
            if self._streams.fits(to, message):
                ref = await self._streams.begin(to, message)
            if ref is None:
                ref = await self._post(to.channel, to.thread, message, key)
            self._ledger.made(key, ref, message)
        await self._files(bot, to, ref, message)
        return ref

    async def edit(self, bot: Bot, to: Address, ref: PostRef, message: MessageOut) -> None:
        """See the port. A private post cannot be changed: what it says newly is posted again."""
        channel, _, user = split(ref)
        if user:
            if self._private.get(ref.id) != render(message).text:
                await self._whisper(channel, to.thread, user, message)
                keep(self._private, ref.id, render(message).text)
            return
        self._ledger.named(ref)
        if self._streams.is_open(ref):
            if await self._streams.grow(ref, message):
                return
            await self._streams.end(ref)
        core = replace(message, status="", answers="")
        if not message.final:
            before, at = self._shown.get(ref.id, (None, 0.0))
            if before == core and self._clock() - at < STATUS_SECONDS:
                return  # the status line says it, and Slack bears few edits a minute
            if (wait := self._pace.wait("edit")) > PATIENCE:
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
        keep(self._shown, ref.id, (core, self._clock()))
        await self._files(bot, to, ref, message)

    async def _update(
        self, ref: PostRef, message: MessageOut, shown: Rendered, *, stream: bool = False
    ) -> None:
        channel, ts, _ = split(ref)
        key = self._ledger.key(ref)
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
        self._ledger.know(key, ref)
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
                self._ledger.know(key, ref)
                keep(self._private, ref.id, render(message).text)
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
