"""What the bot may do in a channel, and the exact names of what it lacks."""

from __future__ import annotations

from collections.abc import Sequence

import discord

from adapters.contract import Address

_NAMES = {
    "view_channel": "View Channel",
    "send_messages": "Send Messages",
    "send_messages_in_threads": "Send Messages in Threads",
    "create_public_threads": "Create Public Threads",
    "attach_files": "Attach Files",
    "embed_links": "Embed Links",
    "read_message_history": "Read Message History",
    "add_reactions": "Add Reactions",
}
WANTED = discord.Permissions(**dict.fromkeys(_NAMES, True))
"""What the bot asks for when it is invited."""


def for_posting(at: Address, files: bool) -> tuple[str, ...]:
    """What a post there needs."""
    send = "send_messages_in_threads" if at.thread else "send_messages"
    return ("view_channel", send, *(("attach_files",) if files else ()))


def missing(client: discord.Client, at: Address, wanted: Sequence[str]) -> str:
    """Those of the wanted that the bot lacks there, named; all of them where the server is not
    known to this process."""
    have = _have(client, at)
    lacking = [name for name in wanted if have is None or not getattr(have, name)]
    return ", ".join(f"{_NAMES[name]} ({name.upper()})" for name in lacking or wanted)


def can_read_back(channel: discord.abc.GuildChannel | discord.Thread) -> bool:
    """Whether what was said there can be read later."""
    may = channel.permissions_for(channel.guild.me)
    return may.view_channel and may.read_message_history


def _have(client: discord.Client, at: Address) -> discord.Permissions | None:
    guild = client.get_guild(int(at.tenant)) if at.tenant.isdecimal() else None
    channel = guild.get_channel(int(at.channel)) if guild is not None else None
    if guild is None or channel is None:
        return None
    return channel.permissions_for(guild.me)
