"""Who and where, by Discord's ids.

An account belongs to no server, so its `tenant` is empty; which servers and roles it is in stands
in `Sender.groups` (a server's id is the id of its role @everyone). A thread's address has the
channel it is in; a thread that was opened from a message has that message's id.
"""

from __future__ import annotations

import discord

from adapters.contract import Address, Gone, Identity

PLATFORM = "discord"
THREADED = (discord.ChannelType.text, discord.ChannelType.news)
"""Kinds of channel in which a thread can be opened from a message."""


def identity(user: int | str) -> Identity:
    """An account."""
    return Identity(PLATFORM, "", str(user))


def direct(channel: int) -> Address:
    """A direct conversation with the bot."""
    return Address(PLATFORM, "", str(channel), direct=True)


def in_channel(guild: int, channel: int) -> Address:
    """A channel itself."""
    return Address(PLATFORM, str(guild), str(channel))


def in_thread(guild: int, channel: int, thread: int) -> Address:
    """A thread, whether it is open already or not."""
    return Address(PLATFORM, str(guild), str(channel), str(thread))


def channel_of(at: Address) -> int:
    """The channel to post in. Raises `Gone` for what is no address of ours."""
    text = at.thread or at.channel
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise Gone("That is no place on Discord.")
    return int(text)


def of_channel(channel: object) -> Address | None:
    """Where something was written, by its channel; None where that is not known yet."""
    match channel:
        case discord.DMChannel():
            return direct(channel.id)
        case discord.Thread() if channel.guild is not None:
            return in_thread(channel.guild.id, channel.parent_id, channel.id)
        case discord.abc.GuildChannel():
            return in_channel(channel.guild.id, channel.id)
        case _:
            return None


def of_server(interaction: discord.Interaction) -> bool:
    """Whether it was used in a server that the bot is in, and not only brought along to."""
    if interaction.guild_id is None:
        return False
    return interaction.is_guild_integration() or not interaction.is_user_integration()
