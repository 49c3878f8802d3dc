"""What was written in a place before, as quotes, where somebody asks the agent to read it."""

from __future__ import annotations

from dataclasses import replace

import discord

from adapters.contract import Address, Quote
from adapters.discord import errors, permissions, words
from adapters.discord.places import channel_of

_SPARE = 2
"""So many times as much is looked at, since the bot's own messages are left out."""


async def earlier(client: discord.Client, at: Address, before: str, most: int) -> tuple[Quote, ...]:
    """The last messages before the one of that key, the oldest first, the bot's own left out. For
    a request that begins a thread they are the channel's. Raises `DeliveryError`."""
    channel = int(at.channel) if at.thread and at.thread == before else channel_of(at)
    limit = discord.Object(int(before)) if before.isdecimal() else None
    guild = int(at.tenant) if at.tenant.isdecimal() else None
    place = client.get_partial_messageable(channel, guild_id=guild)
    me = client.user.id if client.user is not None else 0
    found: list[Quote] = []
    try:
        async for message in place.history(limit=most * _SPARE, before=limit):
            if message.author.id != me and (said := _quote(message)).text.strip():
                found.append(said)
            if len(found) >= most:
                break
    except errors.TROUBLE as error:
        lacking = permissions.missing(client, at, ("view_channel", "read_message_history"))
        raise errors.of(error, lacking) from error
    return tuple(reversed(found))


def _quote(message: discord.Message) -> Quote:
    said = words.quote(message)
    named = [f"[file: {file.filename}]" for file in message.attachments]
    return replace(said, text="\n".join(part for part in (said.text, *named) if part))
