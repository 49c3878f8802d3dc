"""Posts for one person alone, where Discord lets the bot answer them unseen by others: for some
minutes after they used a command or a button there. They end with this process."""

from __future__ import annotations

import io
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import discord

from adapters.contract import Gone, Identity, PostRef
from adapters.discord import errors
from adapters.discord.choices import view_of
from adapters.discord.post import Rendered

TOKEN_SECONDS = 14 * 60.0
"""Discord takes answers for 15 minutes."""
_MOST = 2000
K = TypeVar("K")
V = TypeVar("V")


class Ephemerals:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: OrderedDict[tuple[str, int], tuple[float, discord.Interaction]] = (
            OrderedDict()
        )
        self._keys: OrderedDict[str, PostRef] = OrderedDict()
        self._posts: OrderedDict[str, discord.WebhookMessage] = OrderedDict()

    def note(self, interaction: discord.Interaction) -> None:
        """It was answered: more can be said to who used it."""
        if interaction.channel_id is None:
            return
        key = (str(interaction.user.id), interaction.channel_id)
        self._recent.pop(key, None)
        self._recent[key] = (self._clock(), interaction)
        _trim(self._recent)

    async def send(self, who: Identity, channel: int, key: str, post: Rendered) -> PostRef | None:
        """Show it to this person alone; None where that cannot be done here and now."""
        if (before := self._keys.get(key)) is not None:
            return before
        at, interaction = self._recent.get((who.user, channel), (0.0, None))
        if interaction is None or self._clock() - at > TOKEN_SECONDS:
            return None
        try:
            made = await interaction.followup.send(
                post.content,
                ephemeral=True,
                wait=True,
                files=[discord.File(io.BytesIO(f.data), filename=f.name) for f in post.files],
                allowed_mentions=discord.AllowedMentions.none(),
                suppress_embeds=True,
                view=view_of(post.rows),
            )
        except discord.HTTPException as error:
            if error.status >= 500 or error.status == 429:
                raise errors.of(error) from error
            self._recent.pop((who.user, channel), None)
            return None
        except errors.TROUBLE as error:
            raise errors.of(error) from error
        ref = PostRef(f"e/{made.id}")
        self._keys[key], self._posts[ref.id] = ref, made
        _trim(self._keys)
        _trim(self._posts)
        return ref

    async def edit(self, ref: PostRef, post: Rendered) -> None:
        """Raises `Gone` once it cannot be reached any more."""
        made = self._posts.get(ref.id)
        if made is None:
            raise Gone("What only one person saw ends with the process that showed it.")
        try:
            await made.edit(
                content=post.content,
                view=view_of(post.rows),
                allowed_mentions=discord.AllowedMentions.none(),
            )
        except discord.HTTPException as error:
            if error.status in (401, 403, 404):
                raise Gone("Discord takes no more of it.") from error
            raise errors.of(error) from error
        except errors.TROUBLE as error:
            raise errors.of(error) from error


def _trim(kept: OrderedDict[K, V]) -> None:
    while len(kept) > _MOST:
        kept.popitem(last=False)
