"""Commands: `/bascule word`, which knows no thread, and `!word`, which does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog
from slack_bolt.response import BoltResponse
from slack_sdk.webhook.async_client import AsyncWebhookClient

from adapters.contract import (
    Address,
    CommandIn,
    DeliveryError,
    Host,
    MessageOut,
    NotStored,
    Sender,
)
from adapters.slack import words
from adapters.slack.api import Bot
from adapters.slack.blocks import render
from adapters.slack.events import Said, Slash
from adapters.slack.gate import Gate
from adapters.slack.log import quiet
from adapters.slack.people import People
from adapters.slack.posts import Posts

log = structlog.get_logger()
T = TypeVar("T")
PATIENCE = 2.2
"""Seconds until a slash command is answered that it goes on: Slack waits for three."""
AT_WORK = "One moment…"
NOT_STORED = "The command could not be stored, so nothing was done. Please give it again."
NOT_HAD = "Slack did not say who you are just now, so nothing was done. Please give it again."


class Commands:
    def __init__(self, host: Host, bot: Bot, people: People, posts: Posts, gate: Gate) -> None:
        self._host = host
        self._bot = bot
        self._people = people
        self._posts = posts
        self._gate = gate
        self._tasks: set[asyncio.Task[Any]] = set()

    async def typed(self, event: Said, at: Address, sender: Sender, name: str, rest: str) -> None:
        """`!word rest`. Raises `NotStored` or `DeliveryError`."""
        people = await self._people.identities(words.mentioned(rest))
        key = f"{event.channel}:{event.ts}"
        await self.run(CommandIn((key,), at, sender, name, rest, people))

    async def run(self, command: CommandIn) -> None:
        """Hand it over and show its giver what came of it. Raises `NotStored`."""
        receipt = await self._host.submit(command)
        if receipt.reply is not None:
            # By itself: Slack waits three seconds for its acknowledgement, and a post may have to.
            self._spawn(self._reply(command, receipt.reply))

    async def _reply(self, command: CommandIn, reply: MessageOut) -> None:
        key = f"command.{command.keys[0]}"
        try:
            await self._posts.send(self._bot, command.address, reply, key)
        except DeliveryError as error:
            log.warning("a command's answer was not shown", error=str(error))

    async def slash(self, event: Slash) -> BoltResponse:
        """Slack never delivers a slash command again, so it is answered in any case."""
        task = self._spawn(self._slash(event))
        done, _ = await asyncio.wait([task], timeout=PATIENCE)
        if done:
            return _answer(task.result())
        task.add_done_callback(lambda over: self._later(event, over))
        return _answer(MessageOut(AT_WORK))

    async def close(self) -> None:
        """Nothing of it is left at work."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _slash(self, event: Slash) -> MessageOut:
        try:
            account = await self._people.account(event.who)
            if refused := self._gate.refusal(account):
                return MessageOut(refused)
            name, rest = words.slash(event.text)
            at = self._posts.place(self._bot, event.channel, account.user)
            people = await self._people.identities(words.mentioned(rest))
            sender = await self._people.sender(account)
            key = f"slash:{event.trigger}"
            command = CommandIn((key,), at, sender, name, rest, people)
            receipt = await self._host.submit(command)
        except NotStored:
            return MessageOut(NOT_STORED, tone="error")
        except DeliveryError as error:
            log.warning("slash command not taken", error=str(error))
            return MessageOut(NOT_HAD, tone="error")
        return receipt.reply or MessageOut("Done.")

    def _later(self, event: Slash, over: asyncio.Task[MessageOut]) -> None:
        if over.cancelled() or over.exception() is not None or not event.answer_at:
            return
        self._spawn(self._answer_later(event, over.result()))

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answer_later(self, event: Slash, message: MessageOut) -> None:
        webhook = AsyncWebhookClient(event.answer_at, logger=quiet(), retry_handlers=[])
        try:
            await webhook.send_dict({**_body(message), "replace_original": True})
        except Exception as error:  # noqa: BLE001 - nobody is left to be told but the log
            log.warning("a command's answer was not shown", error=type(error).__name__)


def _body(message: MessageOut) -> dict[str, Any]:
    shown = render(message)
    return {"response_type": "ephemeral", "text": shown.text, "blocks": shown.blocks}


def _answer(message: MessageOut) -> BoltResponse:
    return BoltResponse(
        status=200,
        body=json.dumps(_body(message)),
        headers={"content-type": ["application/json"]},
    )
