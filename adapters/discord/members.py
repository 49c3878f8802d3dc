"""The servers and roles an account is in, as `Sender.groups`."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable

import discord

from adapters.contract import Sender
from adapters.discord import errors
from adapters.discord.places import identity

FRESH_SECONDS = 60.0
"""So long a looked-up membership is taken for granted; what comes with a message is always new."""
_MOST = 2000
_MOST_SERVERS = 25
"""Servers that are asked for somebody who writes directly."""


class Members:
    """Looks memberships up where an event does not bring them."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client
        self._known: OrderedDict[tuple[int, int], tuple[float, tuple[str, ...]]] = OrderedDict()

    async def sender(
        self, user: discord.abc.User, guild: discord.Guild | None, *, direct: bool
    ) -> Sender:
        """The account with its groups. In direct messages those of every server that the bot is
        in, too; elsewhere of `guild` alone."""
        name = user.display_name
        if isinstance(user, discord.Member):
            groups = _groups(user.guild.id, user.roles)
            self._keep(user.guild.id, user.id, groups)
            return Sender(identity(user.id), name, groups=groups)
        guilds: Iterable[discord.Guild] = [guild] if guild is not None else []
        if direct:
            guilds = self._client.guilds[:_MOST_SERVERS]
        found = await asyncio.gather(*(self._in(one, user.id) for one in guilds))
        return Sender(identity(user.id), name, groups=tuple(g for part in found for g in part))

    async def _in(self, guild: discord.Guild, user: int) -> tuple[str, ...]:
        known = self._known.get((guild.id, user))
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        try:
            member = await guild.fetch_member(user)
        except discord.NotFound:
            groups: tuple[str, ...] = ()
        except errors.TROUBLE:
            return ()  # not known is not a member: deny by default
        else:
            groups = _groups(guild.id, member.roles)
        self._keep(guild.id, user, groups)
        return groups

    def _keep(self, guild: int, user: int, groups: tuple[str, ...]) -> None:
        self._known[guild, user] = (time.monotonic(), groups)
        self._known.move_to_end((guild, user))
        while len(self._known) > _MOST:
            self._known.popitem(last=False)


def _groups(guild: int, roles: Iterable[discord.Role]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([str(guild), *(str(role.id) for role in roles)]))
