"""A message's words as the agent reads them: mentions with names, the bot's own left out."""

from __future__ import annotations

import re
from collections.abc import Callable

import discord

from adapters.contract import Attachment, Identity, Quote
from adapters.discord import files
from adapters.discord.places import identity

_MENTION = re.compile(r"<(@!?|@&|#)(\d{1,20})>")
_COMMAND = re.compile(r"!([A-Za-z][\w-]{0,30})(?:\s+(.*))?", re.DOTALL)
_SPOKEN = re.compile(
    r"(claim|link|people)\s+((?:let\s+)?[2-9A-Za-z]{4}(?:-[2-9A-Za-z]{4})+(?:\s+yes)?)",
    re.IGNORECASE,
)
_TITLE = 90


def names(message: discord.Message, me: int) -> bool:
    """Whether the message mentions the bot: by itself, or by the role that is its own."""
    if any(user.id == me for user in message.mentions) or f"<@{me}>" in message.content:
        return True
    if message.guild is None:
        return False
    role = message.guild.self_role
    return role is not None and role.id in message.raw_role_mentions


def text_of(message: discord.Message, me: int) -> str:
    """What was said, readable."""
    return readable(without_me(message.content, me, _own_role(message)), _namer(message))


def raw_of(message: discord.Message, me: int) -> str:
    """What was said, its mentions as Discord writes them: for commands, which look them up."""
    return without_me(message.content, me, _own_role(message))


def without_me(text: str, me: int, role: int | None) -> str:
    """The text without the mention of the bot that it begins or ends with."""
    mine = rf"<@!?{me}>" + (rf"|<@&{role}>" if role is not None else "")
    return re.sub(rf"^\s*(?:(?:{mine})\s*)+|(?:\s*(?:{mine}))+\s*$", "", text)


def readable(text: str, name_of: Callable[[str, int], str | None]) -> str:
    """`<@1>` as `@Name (1)`."""

    def named(found: re.Match[str]) -> str:
        kind, number = found[1].rstrip("!"), int(found[2])
        name = name_of(kind, number)
        if name is None:
            return found[0]
        return f"#{name}" if kind == "#" else f"@{name} ({number})"

    return _MENTION.sub(named, text)


def command_of(text: str) -> tuple[str, str] | None:
    """(name, rest) of `!name rest`; None for what is no command."""
    found = _COMMAND.fullmatch(text.strip())
    return None if found is None else (found[1].lower(), (found[2] or "").strip())


def spoken_command_of(text: str) -> tuple[str, str] | None:
    """(name, rest) of what people are told to write to the bot: a word and a code."""
    found = _SPOKEN.fullmatch(text.strip().strip("`"))
    return None if found is None else (found[1].lower(), found[2])


def people_in(text: str) -> tuple[Identity, ...]:
    """The accounts that a text mentions, in order."""
    ids = [found[2] for found in _MENTION.finditer(text) if found[1] in ("@", "@!")]
    return tuple(identity(one) for one in dict.fromkeys(ids))


def title_of(text: str) -> str:
    """A thread's name from what was asked for."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = " ".join(re.sub(r"[`*_~|#>]", "", line).split())
    return (line if len(line) <= _TITLE else line[: _TITLE - 1] + "…") or "Bascule"


def quotes_of(message: discord.Message) -> tuple[Quote, ...]:
    """What it replies to, and what it passes on."""
    found: list[Quote] = []
    if message.reference is not None and isinstance(message.reference.resolved, discord.Message):
        found.append(quote(message.reference.resolved))
    found += [Quote("a message passed on", one.content) for one in message.message_snapshots]
    return tuple(one for one in found if one.text.strip())


def quote(message: discord.Message) -> Quote:
    """Somebody's message as a quote."""
    text = readable(message.content, _namer(message))
    return Quote(message.author.display_name, text, identity(message.author.id))


def attachments_of(message: discord.Message) -> tuple[Attachment, ...]:
    """The files that came with it."""
    return tuple(files.attachment(message.channel.id, message.id, f) for f in message.attachments)


def _own_role(message: discord.Message) -> int | None:
    role = message.guild.self_role if message.guild is not None else None
    return None if role is None else role.id


def _namer(message: discord.Message) -> Callable[[str, int], str | None]:
    people = {user.id: user.display_name for user in message.mentions}
    guild = message.guild

    def name_of(kind: str, number: int) -> str | None:
        if kind == "@":
            return people.get(number)
        if guild is None:
            return None
        if kind == "@&":
            role = guild.get_role(number)
            return role.name if role is not None else None
        channel = guild.get_channel_or_thread(number)
        return channel.name if channel is not None else None

    return name_of
