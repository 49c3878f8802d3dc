"""The message menu "Ask Bascule about this", and where an interaction belongs.

Where the bot is in the server, the answer comes in a thread of the message. Where somebody brought
the bot along by themselves, or in other people's direct messages, it cannot write: the answer
comes in their own direct messages with it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import discord
import structlog

from adapters.contract import (
    Address,
    Attachment,
    DeliveryError,
    Field,
    Host,
    MessageIn,
    NotStored,
    Quote,
)
from adapters.discord import errors, forms, places, words
from adapters.discord.ephemeral import Ephemerals
from adapters.discord.members import Members
from adapters.discord.replying import NOT_STORED, acknowledge, tell, within_deadline
from adapters.discord.threads import Threads

log = structlog.get_logger()
_MOST = 500
_ID = "ask:"
_FORM = (Field("what", "What should I do with it?", placeholder="Explain it, fix it, answer it …"),)
_TITLE = "Ask Bascule about this"
_GONE = "That message is not at hand any more. Use the menu on it again."


class _About:
    """The message that somebody asks about."""

    def __init__(self, at: Address, quote: Quote, attachments: tuple[Attachment, ...]) -> None:
        self.at = at
        self.quote = quote
        self.attachments = attachments


class Asking:
    """Of one client."""

    def __init__(
        self,
        host: Host,
        client: discord.Client,
        members: Members,
        threads: Threads,
        ephemerals: Ephemerals,
    ) -> None:
        self._host = host
        self._client = client
        self._members = members
        self._threads = threads
        self._ephemerals = ephemerals
        self._about: OrderedDict[str, _About] = OrderedDict()

    async def where(self, interaction: discord.Interaction) -> Address:
        """The conversation it belongs to. Raises `DeliveryError` where Discord cannot say."""
        if places.of_server(interaction):
            at = places.of_channel(interaction.channel)
            if at is not None:
                return at
        context = interaction.context
        if interaction.guild_id is None and context.dm_channel and interaction.channel_id:
            return places.direct(interaction.channel_id)
        try:
            mine = await self._client.create_dm(discord.Object(interaction.user.id))
        except errors.TROUBLE as error:
            raise errors.of(error) from error
        return places.direct(mine.id)

    async def open(self, interaction: discord.Interaction, data: Mapping[str, Any]) -> None:
        """The menu was used on a message: ask what to do with it."""
        target = str(data.get("target_id", ""))
        message = ((data.get("resolved") or {}).get("messages") or {}).get(target)
        if message is None:
            await tell(interaction, _GONE)
            return
        try:
            about = await self._of(interaction, message)
        except DeliveryError as error:
            await tell(interaction, f"{error} {error.remedy}".strip())
            return
        page = forms.Page(0, "")
        dialog = forms.dialog(_TITLE, _FORM, page)
        dialog.custom_id = f"{_ID}{interaction.id}"
        self._about[dialog.custom_id] = about
        if len(self._about) > _MOST:
            self._about.popitem(last=False)
        try:
            await interaction.response.send_modal(dialog)
        except errors.TROUBLE as error:
            log.warning("a form could not be opened", error=type(error).__name__)

    async def _of(self, interaction: discord.Interaction, message: Mapping[str, Any]) -> _About:
        at = await self.where(interaction)
        number, channel = int(message["id"]), int(message["channel_id"])
        kind = getattr(interaction.channel, "type", None)
        if at.tenant and not at.thread and kind in places.THREADED:
            at = places.in_thread(int(at.tenant), int(at.channel), number)
        author = message.get("author") or {}
        name = author.get("global_name") or author.get("username") or "somebody"
        mentioned = {int(u["id"]): str(u.get("global_name") or u["username"])
                     for u in message.get("mentions") or ()}  # fmt: skip
        text = words.readable(
            str(message.get("content") or ""),
            lambda kind, one: mentioned.get(one) if kind == "@" else None,
        )
        attached: tuple[Attachment, ...] = ()
        if places.of_server(interaction) or (at.direct and int(at.channel) == channel):
            attached = tuple(
                Attachment(
                    f"{channel}/{number}/{file['id']}", str(file["filename"]),
                    str(file.get("content_type") or ""), int(file.get("size") or 0),
                )
                for file in message.get("attachments") or ()
            )  # fmt: skip
        elif message.get("attachments"):
            text += "\n[files that the bot cannot see from here]"
        by = places.identity(author["id"]) if "id" in author else None
        return _About(at, Quote(str(name), text, by), attached)

    async def take(
        self, interaction: discord.Interaction, custom_id: str, data: Mapping[str, Any]
    ) -> bool:
        """A filled-in dialog; False where it is not of this menu."""
        if not custom_id.startswith(_ID):
            return False
        about = self._about.pop(custom_id, None)
        if about is None:
            await tell(interaction, _GONE)
            return True
        values = dict(forms.read(data.get("components") or (), _FORM))
        text = " ".join(values.get("what", ()))
        self._ephemerals.note(interaction)
        task, in_time = await within_deadline(self._ask(interaction, about, text))
        if not in_time:
            await acknowledge(interaction, thinking=True)
        try:
            await task
        except (NotStored, DeliveryError) as error:
            log.warning("a question was not stored", error=str(error))
            await tell(interaction, NOT_STORED)
            return True
        await tell(interaction, _answer_comes(about.at))
        return True

    async def _ask(self, interaction: discord.Interaction, about: _About, text: str) -> None:
        at = about.at
        here = interaction.guild if places.of_server(interaction) else None
        user: Any = interaction.user
        sender = await self._members.sender(user, here, direct=at.direct)
        if (
            at.thread
            and at.thread != str(interaction.channel_id)
            and not await self._host.known(at)
        ):
            self._threads.note(int(at.thread), words.title_of(text))
        await self._host.submit(
            MessageIn(
                keys=(f"i{interaction.id}",),
                address=at,
                sender=sender,
                text=text,
                order=interaction.id,
                sent_at=datetime.now(UTC),
                attachments=about.attachments,
                quotes=(about.quote,) if about.quote.text.strip() else (),
            )
        )


def _answer_comes(at: Address) -> str:
    if at.direct:
        return "Asked. The answer comes in our direct messages."
    return "Asked. The answer comes in the thread of that message."
