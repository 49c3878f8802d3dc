"""Slash commands, buttons, dialogs and the message menu, handed over before they are answered."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import discord
import structlog

from adapters.contract import (
    ActionIn,
    Address,
    CommandIn,
    DeliveryError,
    Host,
    Inbound,
    MessageOut,
    NotStored,
    Receipt,
    Sender,
)
from adapters.discord import choices, errors, forms, places, slash, words
from adapters.discord.asking import Asking
from adapters.discord.ephemeral import Ephemerals
from adapters.discord.lanes import Lanes
from adapters.discord.members import Members
from adapters.discord.replying import NOT_STORED, acknowledge, tell, within_deadline

log = structlog.get_logger()
_MOST = 2000
_OVER = "That button is not valid any more."
_BEGIN_AGAIN = "The first part of this form is not here any more. Press the button again."
_CHOICES = 25
_SUGGEST_SECONDS = 2.0


class Interactions:
    """Of one client."""

    def __init__(
        self,
        host: Host,
        client: discord.Client,
        members: Members,
        lanes: Lanes,
        ephemerals: Ephemerals,
        asking: Asking,
    ) -> None:
        self._host = host
        self._client = client
        self._members = members
        self._lanes = lanes
        self._ephemerals = ephemerals
        self._asking = asking
        self._drafts = forms.Drafts()
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def heard(self, interaction: discord.Interaction) -> None:
        """Somebody used something. Discord may tell of it twice."""
        if interaction.id in self._seen or interaction.user is discord.utils.MISSING:
            return
        self._seen[interaction.id] = None
        if len(self._seen) > _MOST:
            self._seen.popitem(last=False)
        if interaction.user.bot:
            return
        task = asyncio.create_task(self._guarded(interaction))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, interaction: discord.Interaction) -> None:
        try:
            await self._take(interaction)
        except Exception:
            log.exception("an interaction of Discord could not be handled")
            if interaction.type is not discord.InteractionType.autocomplete:
                await tell(interaction, "Something went wrong here; the bridge's log says what.")

    async def _take(self, interaction: discord.Interaction) -> None:
        data: Mapping[str, Any] = interaction.data or {}
        match interaction.type:
            case discord.InteractionType.autocomplete:
                await self._complete(interaction, data)
            case discord.InteractionType.application_command:
                if data.get("type") == discord.AppCommandType.message.value:
                    await self._asking.open(interaction, data)
                else:
                    await self._command(interaction, data)
            case discord.InteractionType.component:
                await self._press(interaction, data)
            case discord.InteractionType.modal_submit:
                custom_id = str(data.get("custom_id", ""))
                if not await self._asking.take(interaction, custom_id, data):
                    await self._filled(interaction, custom_id, data)

    async def _complete(self, interaction: discord.Interaction, data: Mapping[str, Any]) -> None:
        given = slash.read(data)
        found: list[tuple[str, str]] = []
        if given is not None and given.name == slash.MORE:
            names = [view.name for view in self._host.command_views(admin=True)]
            found = [(name, name) for name in names if name.startswith(given.typed.lower())]
        elif given is not None:
            try:
                async with asyncio.timeout(_SUGGEST_SECONDS):
                    at = await self._where(interaction)
                    who = places.identity(interaction.user.id)
                    found = list(await self._host.suggest(who, at, given.name, given.typed))
            except (TimeoutError, DeliveryError):
                found = []
        shown = [
            discord.app_commands.Choice(name=forms.short(label, 100) or value, value=value)
            for value, label in found[:_CHOICES]
            if 0 < len(value) <= 100
        ]
        try:
            await interaction.response.autocomplete(shown)
        except errors.TROUBLE as error:
            log.info("suggestions came too late", error=type(error).__name__)

    async def _command(self, interaction: discord.Interaction, data: Mapping[str, Any]) -> None:
        given = slash.read(data)
        if given is None:
            await tell(interaction, "There is no such command any more.")
            return

        await self._give(interaction, given)

    async def _give(self, interaction: discord.Interaction, given: slash.Given) -> None:
        async def command(at: Address, sender: Sender) -> Inbound:
            people = words.people_in(given.rest)
            key = str(interaction.id)
            return CommandIn((key,), at, sender, given.name, given.rest, people)

        receipt = await self._submit(interaction, command, thinking=True)
        if receipt is not None:
            await tell(interaction, receipt.reply or MessageOut("Done.", tone="notice"))

    async def _press(self, interaction: discord.Interaction, data: Mapping[str, Any]) -> None:
        custom_id = str((data.get("values") or [data.get("custom_id", "")])[0])
        page = forms.next_page(custom_id)
        pressed = choices.pressed(custom_id)
        if custom_id == choices.STOP.id:
            await self._give(interaction, slash.Given("stop", ""))
        elif page is not None:
            await self._open(interaction, page)
        elif pressed is None:
            await tell(interaction, _OVER)
        elif pressed.form:
            await self._open(interaction, forms.Page(0, pressed.action))
        else:
            await self._act(interaction, pressed.action, ())

    async def _open(self, interaction: discord.Interaction, page: forms.Page) -> None:
        form = await self._host.form(page.action)
        if not 0 <= page.number < len(forms.pages(form)):
            await tell(interaction, _OVER)
            return
        title = _label_of(interaction) or "Answer"
        try:
            await interaction.response.send_modal(forms.dialog(title, form, page))
        except errors.TROUBLE as error:
            log.warning("a form could not be opened", error=type(error).__name__)

    async def _filled(
        self, interaction: discord.Interaction, custom_id: str, data: Mapping[str, Any]
    ) -> None:
        page = forms.page_of(custom_id)
        form = await self._host.form(page.action) if page is not None else ()
        if page is None or not form:
            await tell(interaction, _OVER)
            return
        values = forms.read(data.get("components") or (), form)
        self._drafts.keep(interaction.user.id, page, values)
        last = len(forms.pages(form)) - 1
        if page.number < last:
            await self._go_on(interaction, forms.Page(page.number + 1, page.action), last)
            return
        everything = self._drafts.take(interaction.user.id, page)
        if everything is None:
            await tell(interaction, _BEGIN_AGAIN)
            return
        await self._act(interaction, page.action, everything)

    async def _go_on(self, interaction: discord.Interaction, page: forms.Page, last: int) -> None:
        """A dialog cannot open another one: a button does."""
        view = discord.ui.View(timeout=None)
        label = f"Go on ({page.number + 1} of {last + 1})"
        button: discord.ui.Button[discord.ui.View] = discord.ui.Button(
            custom_id=forms.next_button(page), label=label, style=discord.ButtonStyle.primary
        )
        view.add_item(button)
        view.stop()
        try:
            await interaction.response.send_message(
                "So far so good; nothing is sent yet.", view=view, ephemeral=True
            )
        except errors.TROUBLE as error:
            log.warning("a form could not go on", error=type(error).__name__)

    async def _act(
        self, interaction: discord.Interaction, action: str, values: forms.Values
    ) -> None:
        async def act(at: Address, sender: Sender) -> Inbound:
            return ActionIn((str(interaction.id),), at, sender, action, values)

        receipt = await self._submit(interaction, act, thinking=False)
        if receipt is not None:
            if receipt.reply is not None:
                await tell(interaction, receipt.reply)
            await acknowledge(interaction)

    async def _submit(
        self,
        interaction: discord.Interaction,
        make: Callable[[Address, Sender], Awaitable[Inbound]],
        *,
        thinking: bool,
    ) -> Receipt | None:
        """What the bridge says. None where it could not be stored, which was told then."""
        self._ephemerals.note(interaction)
        result: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._lanes.put(
            interaction.channel_id or 0, partial(self._hand_over, interaction, make, result)
        )
        try:
            task, in_time = await within_deadline(result)
            if not in_time:
                await acknowledge(interaction, thinking=thinking)
            return await task
        except (NotStored, DeliveryError) as error:
            log.warning("an interaction was not stored", error=str(error))
            await tell(interaction, NOT_STORED)
            return None

    async def _hand_over(
        self,
        interaction: discord.Interaction,
        make: Callable[[Address, Sender], Awaitable[Inbound]],
        result: asyncio.Future[Receipt],
    ) -> None:
        """In the order of its channel."""
        try:
            at = await self._where(interaction)
            here = interaction.guild if places.of_server(interaction) else None
            user: Any = interaction.user
            sender = await self._members.sender(user, here, direct=at.direct)
            receipt = await self._host.submit(await make(at, sender))
        except Exception as error:  # noqa: BLE001 - who waits for the result gets it
            if not result.done():
                result.set_exception(error)
        else:
            if not result.done():
                result.set_result(receipt)

    async def _where(self, interaction: discord.Interaction) -> Address:
        return await self._asking.where(interaction)


def _label_of(interaction: discord.Interaction) -> str:
    """The words of the button that was pressed."""
    data: Mapping[str, Any] = interaction.data or {}
    wanted = str((data.get("values") or [data.get("custom_id", "")])[0])
    rows = interaction.message.components if interaction.message is not None else []
    for row in rows:
        for part in getattr(row, "children", []):
            if getattr(part, "custom_id", None) == wanted:
                return str(part.label or "")
            for option in getattr(part, "options", []):
                if option.value == wanted:
                    return str(option.label)
    return ""
