"""What Slack delivers, brought to the bridge, and answered to Slack once it is stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from slack_bolt.response import BoltResponse

from adapters.contract import (
    ActionIn,
    Address,
    CommandIn,
    DeliveryError,
    Host,
    Inbound,
    Lifecycle,
    MessageIn,
    NotStored,
    Quote,
    Sender,
)
from adapters.slack import events, words
from adapters.slack.api import Bot
from adapters.slack.arrivals import Arrivals
from adapters.slack.blocks import STOP
from adapters.slack.dialogs import Dialogs
from adapters.slack.downloads import attachments
from adapters.slack.events import Changed, Filled, Opened, Pointed, Pressed, Said, Slash
from adapters.slack.gate import Gate
from adapters.slack.people import People, identity
from adapters.slack.posts import Posts
from adapters.slack.slash import Commands
from adapters.slack.streams import Streams
from adapters.slack.welcome import Welcome

log = structlog.get_logger()
NOT_STORED = "That could not be stored just now. Please try again in a moment."


class Lanes:
    """One after another for each place, in the order of arrival."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def lane(self, name: str) -> AsyncIterator[None]:
        lock, waiting = self._locks.get(name) or (asyncio.Lock(), 0)
        self._locks[name] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks[name]
            if waiting == 1:
                del self._locks[name]
            else:
                self._locks[name] = (lock, waiting - 1)


class Intake:
    """One for as long as `Adapter.run` runs."""

    def __init__(
        self,
        host: Host,
        bot: Bot,
        people: People,
        posts: Posts,
        streams: Streams,
        arrivals: Arrivals,
        gate: Gate,
        dialogs: Dialogs,
        commands: Commands,
        welcome: Welcome,
        *,
        gone: Any,
    ) -> None:
        """`gone` hears by Slack's name of it that the app or its tokens are no more."""
        self._host = host
        self._bot = bot
        self._people = people
        self._posts = posts
        self._streams = streams
        self._arrivals = arrivals
        self._gate = gate
        self._dialogs = dialogs
        self._commands = commands
        self._welcome = welcome
        self._gone = gone
        self._lanes = Lanes()

    async def take(self, body: Mapping[str, Any]) -> BoltResponse:
        """What Slack is answered: 200 once it is stored or of no concern. Anything else is no
        acknowledgement, and Slack delivers it again."""
        event = events.parse(body)
        try:
            if isinstance(event, Filled):
                return await self._filled(event)
            if isinstance(event, Slash):
                return await self._commands.slash(event)
            await self._take(event)
        except NotStored as error:
            log.warning("not stored, Slack delivers it again", error=str(error))
            return BoltResponse(status=503, body="")
        except DeliveryError as error:
            log.warning("not taken, Slack delivers it again", error=str(error))
            return BoltResponse(status=503, body="")
        return BoltResponse(status=200, body="")

    async def _take(self, event: events.Event) -> None:
        match event:
            case Said():
                await self.said(event)
            case Changed():
                await self._changed(event)
            case Pressed():
                await self._pressed(event)
            case Pointed():
                await self._dialogs.pointed(event)
            case Opened():
                await self._welcome.opened(event)
            case events.Uninstalled(what=what):
                self._gone(what)

    async def said(self, event: Said) -> None:
        """A person's message, live or read back. Raises `NotStored` or `DeliveryError`."""
        if event.who.user == self._bot.user:
            return
        at = self.address(event.channel, event.thread or event.ts, event.direct)
        async with self._lanes.lane(f"{at.channel}:{at.thread}"):
            called = event.direct or event.mention
            called = called or self._bot.user in words.mentioned(event.text)
            if not called and not await self._goes_on(event, at):
                return
            account = await self._people.account(event.who)
            if account.bot:
                return
            if event.direct:
                self._posts.direct(event.channel, event.who.user)
            if refused := self._gate.refusal(account, shared=event.shared):
                if called:
                    await self._gate.tell(at, account.user, refused)
                return
            sender = await self._people.sender(account)
            text = words.without(event.text, self._bot.user)
            if (found := words.command(text)) is not None and not event.files:
                await self._commands.typed(event, at, sender, *found)
                return
            await self.submit(await self._message(event, at, sender, text))

    async def _goes_on(self, event: Said, at: Address) -> bool:
        """A reply without a mention is for the bot in a thread where it is at work, unless it
        begins with somebody else's name."""
        if not event.thread or words.begins_with(event.text):
            return False
        return await self._host.known(at)

    async def _message(self, event: Said, at: Address, sender: Sender, text: str) -> MessageIn:
        told = [text, *(share.text for share in event.shares)]
        users = dict.fromkeys(user for one in told for user in words.mentioned(one))
        names = await self._people.names(tuple(users))
        files = [*event.files, *(file for share in event.shares for file in share.files)]
        quotes = [
            Quote(share.author or "somebody", words.readable(share.text, names))
            for share in event.shares
            if share.text.strip()
        ]
        if event.thread and event.direct and not await self._host.known(at):
            put, more = await self._dialogs.put_before(at)
            quotes, files = [*put, *quotes], [*more, *files]
        return MessageIn(
            keys=(f"{event.channel}:{event.ts}",),
            address=at,
            sender=sender,
            text=words.readable(text, names),
            order=order(event.ts),
            sent_at=datetime.fromtimestamp(float(event.ts), UTC),
            attachments=attachments(tuple(files)),
            quotes=tuple(quotes),
        )

    async def submit(self, message: MessageIn) -> None:
        """Raises `NotStored`."""
        key, whose = message.keys[0], message.sender.identity
        self._streams.asked(key, whose.user, whose.tenant)
        self._arrivals.coming(key)
        new = False
        try:
            new = (await self._host.submit(message)).outcome == "stored"
        finally:
            self._arrivals.over(key, new)

    async def _changed(self, event: Changed) -> None:
        at = self.address(event.channel, event.thread or event.ts, event.direct)
        account = await self._people.account(event.who)
        text = words.without(event.text, self._bot.user)
        names = await self._people.names(words.mentioned(text))
        sender = Sender(identity(account), account.name)
        key = f"{event.channel}:{event.ts}"
        await self._in_lane(Lifecycle(event.kind, at, sender, key, words.readable(text, names)))

    async def _pressed(self, event: Pressed) -> None:
        account = await self._people.account(event.who)
        direct = event.channel.startswith("D")
        at = self.address(event.channel, event.thread, direct)
        if refused := self._gate.refusal(account):
            await self._gate.tell(at, account.user, refused)
            return
        key = f"{event.who.user}:{event.channel}:{event.ts}:{event.at}"
        kind, _, rest = event.button.partition(":")
        if kind == STOP:
            sender = await self._people.sender(account)
            stop = CommandIn((key,), at, sender, "stop")
            await self._commands.run(stop)
        elif kind == "choice" and rest.endswith(":form"):
            await self._dialogs.open(event, at, rest.removesuffix(":form"))
        elif kind == "choice":
            sender = await self._people.sender(account)
            await self._in_lane(ActionIn((key,), at, sender, event.value))

    async def _filled(self, event: Filled) -> BoltResponse:
        found = self._dialogs.filled(event)
        if found is None:
            return BoltResponse(status=200, body="")
        account = await self._people.account(event.who)
        if refused := self._gate.refusal(account):
            return self._dialogs.not_taken(event, refused)
        sender = await self._people.sender(account)
        key = f"{event.who.user}:{event.view.get('id', '')}"
        try:
            if found.action:
                at = self.address(found.at.channel, found.at.thread, found.at.direct)
                await self._in_lane(ActionIn((key,), at, sender, found.action, found.values))
            else:
                await self._asked(found.at, sender, key, found.text)
        except NotStored:
            # Kept open with what was written in it: pressing again sends it again.
            return self._dialogs.not_taken(event, NOT_STORED)
        return BoltResponse(status=200, body="")

    async def _asked(self, place: Address, sender: Sender, key: str, text: str) -> None:
        """The question about a message that the shortcut put before the bot."""
        at = self.address(place.channel, place.thread, direct=True)
        now = datetime.now(UTC)
        quotes, files = await self._dialogs.put_before(at)
        message = MessageIn(
            keys=(key,),
            address=at,
            sender=sender,
            text=text,
            order=int(now.timestamp() * 1_000_000),
            sent_at=now,
            attachments=attachments(files),
            quotes=quotes,
        )
        async with self._lanes.lane(f"{at.channel}:{at.thread}"):
            await self.submit(message)

    async def _in_lane(self, inbound: Inbound) -> None:
        at = inbound.address
        async with self._lanes.lane(f"{at.channel}:{at.thread}"):
            await self._host.submit(inbound)

    def address(self, channel: str, thread: str, direct: bool) -> Address:
        return Address("slack", self._bot.team, channel, thread, direct)


def order(ts: str) -> int:
    """Slack's time of a message as a number that grows."""
    seconds, _, rest = ts.partition(".")
    return int(seconds) * 1_000_000 + int(rest[:6].ljust(6, "0") or 0)


def slack_time(number: int) -> str:
    """The time of `order`, as Slack writes it."""
    return f"{number // 1_000_000}.{number % 1_000_000:06d}"
