"""The bot's page was opened: its home is drawn, or a conversation is made ready."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from adapters.contract import Address, DeliveryError, Host, Lifecycle
from adapters.slack.api import Api, Bot
from adapters.slack.events import Opened
from adapters.slack.gate import Gate
from adapters.slack.home import home
from adapters.slack.people import People
from adapters.slack.posts import Posts

log = structlog.get_logger()
PROMPTS = (
    ("What can you do?", "What can you do here, and what will you ask me before?"),
    ("Look around", "Look around in my workspace and tell me what is there."),
    ("Write something", "Write a short script that renames photos by their date, with a test."),
)
RECENT = timedelta(days=1)


class Welcome:
    def __init__(
        self, host: Host, api: Api, bot: Bot, people: People, posts: Posts, gate: Gate
    ) -> None:
        self._host = host
        self._api = api
        self._bot = bot
        self._people = people
        self._posts = posts
        self._gate = gate

    async def opened(self, event: Opened) -> None:
        """Never raises for what cannot be shown. Raises `DeliveryError` where Slack does not say
        who it is, and `NotStored`."""
        account = await self._people.account(event.who)
        if self._gate.refusal(account):
            return
        sender = await self._people.sender(account)
        if event.tab == "home":
            view = await home(self._bot, self._host, sender.identity)
            await self._try(self._api.web.views_publish(user_id=account.user, view=view))
            return
        self._posts.direct(event.channel, account.user)
        at = Address("slack", self._bot.team, event.channel, direct=True)
        newest = datetime.now(UTC) - RECENT
        for one in await self._host.conversations(sender.identity):
            if one.address.channel == event.channel and one.last_active > newest:
                at = one.address  # the one that they would most likely go on with
                break
        await self._host.submit(Lifecycle("opened", at, sender))
        # Without a thread: with one, Slack shows them to nobody in the agent view.
        prompts = [{"title": title, "message": message} for title, message in PROMPTS]
        await self._try(
            self._api.web.assistant_threads_setSuggestedPrompts(
                channel_id=event.channel, title="Try one of these", prompts=prompts
            )
        )

    async def _try(self, call: object) -> None:
        try:
            await self._api.ask(call)  # type: ignore[arg-type]
        except DeliveryError as error:
            log.info("not shown", error=str(error))
