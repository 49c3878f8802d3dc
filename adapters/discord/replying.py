"""Answers to interactions, which Discord wants within three seconds."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable
from typing import TypeVar

import discord
import structlog

from adapters.contract import MessageOut
from adapters.discord import errors
from adapters.discord.choices import view_of
from adapters.discord.post import Rendered, render

log = structlog.get_logger()
T = TypeVar("T")
DEADLINE = 2.0
"""Seconds after which it is said that an answer is coming."""
NOT_STORED = "That could not be stored just now, so nothing was done. Please try again."
_NOBODY = discord.AllowedMentions.none()


async def within_deadline(work: Awaitable[T]) -> tuple[asyncio.Future[T], bool]:
    """(the work, whether it is done in time). It goes on either way."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=DEADLINE)
    return task, bool(done)


async def tell(interaction: discord.Interaction, message: MessageOut | str) -> bool:
    """Show something to who used it, alone; as the answer, or after it. False where Discord did
    not take it."""
    if isinstance(message, str):
        message = MessageOut(message, tone="notice")
    post = render(message)
    try:
        if interaction.response.is_done():
            await interaction.followup.send(
                post.content,
                ephemeral=True,
                files=_files(post),
                view=view_of(post.rows),
                allowed_mentions=_NOBODY,
                suppress_embeds=True,
            )
        else:
            await interaction.response.send_message(
                post.content,
                ephemeral=True,
                files=_files(post),
                view=view_of(post.rows),
                allowed_mentions=_NOBODY,
                suppress_embeds=True,
            )
    except errors.TROUBLE as error:
        log.warning("an answer could not be shown", error=_words(error))
        return False
    return True


async def acknowledge(interaction: discord.Interaction, *, thinking: bool = False) -> None:
    """It was taken; with `thinking`, an answer for this person alone comes later."""
    if interaction.response.is_done():
        return
    try:
        await interaction.response.defer(ephemeral=True, thinking=thinking)
    except errors.TROUBLE as error:
        log.warning("an interaction could not be answered", error=_words(error))


def _files(post: Rendered) -> list[discord.File]:
    return [discord.File(io.BytesIO(file.data), filename=file.name) for file in post.files]


def _words(error: BaseException) -> str:
    # The address of a failed call holds the interaction's token.
    if isinstance(error, discord.HTTPException):
        return f"{error.status} ({error.code})"
    return type(error).__name__
