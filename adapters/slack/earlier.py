"""What was written in a place before, as quotes, where somebody asks the agent to read it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

from adapters.contract import Address, Identity, Quote
from adapters.slack import events, thread, words
from adapters.slack.api import Api, Bot
from adapters.slack.events import Who
from adapters.slack.ledger import is_ours
from adapters.slack.people import People, identity

_SPARE = 3
"""So many times as much of a channel is looked at, since not all of it are people's words."""


async def earlier(
    api: Api, bot: Bot, people: People, at: Address, before: str, most: int
) -> tuple[Quote, ...]:
    """The last messages before the one of that key, the oldest first, the bot's own left out. For
    a request that begins a thread they are the channel's. Raises `DeliveryError`."""
    channel, _, ts = before.partition(":")
    until = ts if channel == at.channel and ts.replace(".", "").isdecimal() else ""
    kept: deque[Mapping[str, Any]] = deque(maxlen=most)
    if at.thread and at.thread != until:
        async for message in thread.replies(api, at.channel, at.thread, "0"):
            if until and str(message.get("ts", "")) >= until:
                break
            if _speaks(bot, message):
                kept.append(message)
    else:
        async for message in _newest_first(api, at.channel, until, most * _SPARE):
            if _speaks(bot, message):
                kept.appendleft(message)
            if len(kept) == most:
                break
    return tuple([await _quote(people, at.channel, message) for message in kept])


async def _newest_first(
    api: Api, channel: str, until: str, most: int
) -> AsyncIterator[Mapping[str, Any]]:
    said = await api.ask(
        api.web.conversations_history(
            channel=channel,
            latest=until or None,
            inclusive=False,
            limit=min(most, thread.PAGE),
        )
    )
    for message in said.get("messages") or ():
        yield message


def _speaks(bot: Bot, message: Mapping[str, Any]) -> bool:
    """Words of a person, or of another bot, such as an alert."""
    if is_ours(bot, message) or not (message.get("text") or message.get("files")):
        return False
    return bool(message.get("bot_id")) or events.said(message, "") is not None


async def _quote(people: People, channel: str, message: Mapping[str, Any]) -> Quote:
    text = str(message.get("text") or "")
    names = await people.names(words.mentioned(text))
    named = [f"[file: {file.get('name', '')}]" for file in events.files_of(message)]
    shown = "\n".join(part for part in (words.readable(text, names), *named) if part)
    said = events.said(message, channel)
    if said is None:
        profile = message.get("bot_profile") or {}
        return Quote(str(profile.get("name") or message.get("username") or "a bot"), shown)
    author, by = await _author(people, said.who)
    return Quote(author, shown, by)


async def _author(people: People, who: Who) -> tuple[str, Identity]:
    account = await people.account(who)
    return account.name, identity(account)
