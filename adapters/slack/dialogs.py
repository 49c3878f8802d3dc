"""Modals: forms behind buttons, and the shortcut "Ask Bascule about this"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from slack_bolt.response import BoltResponse

from adapters.contract import Address, DeliveryError, Field, Gone, MessageOut, Quote
from adapters.slack import events, forms, words
from adapters.slack import thread as slack_thread
from adapters.slack.api import Api, Bot, Refused
from adapters.slack.blocks import plain
from adapters.slack.events import Filled, Pointed, Pressed
from adapters.slack.forms import form_in
from adapters.slack.gate import Gate
from adapters.slack.ledger import is_ours
from adapters.slack.people import People
from adapters.slack.posts import Posts

log = structlog.get_logger()
ASKED = "bascule_asked"
"""The type of the metadata of a post that puts a message before the bot."""
QUESTION = Field("question", "What do you want to know, or have done?")
TOO_LATE = "That took too long, so the form could not be opened. Press the button once more."
NO_FORM = "This has changed meanwhile. Please use the newest buttons."
MOST_QUOTED = 10_000


@dataclass(frozen=True, slots=True)
class Answered:
    """What a form brought. Without an `action` it is a question about a message."""

    at: Address
    action: str = ""
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    text: str = ""


class Dialogs:
    def __init__(self, api: Api, bot: Bot, people: People, posts: Posts, gate: Gate) -> None:
        self._api = api
        self._bot = bot
        self._people = people
        self._posts = posts
        self._gate = gate

    async def open(self, event: Pressed, at: Address, number: str) -> None:
        """The form behind a button. Slack gives three seconds for it; its presser hears of it
        where that was not enough."""
        found = form_in(event.metadata, number)
        if found is None:
            carried = None
            try:
                post = await slack_thread.message_at(self._api, at.channel, at.thread, event.ts)
                carried = (post or {}).get("metadata")
            except DeliveryError as error:
                log.warning("form not had", error=str(error))
            found = form_in(carried, number)
        if found is None:
            await self._tell(at, event.who.user, NO_FORM)
            return
        label, fields = found
        view = forms.view(label, fields, event.value, at, event.ts)
        await self._show(at, event.who.user, event.trigger, view)

    async def pointed(self, event: Pointed) -> None:
        """Put the message before the bot in its reader's direct messages, whose thread the answer
        comes in, and ask what about it. Raises `DeliveryError`."""
        account = await self._people.account(event.who)
        here = Address("slack", self._bot.team, event.channel)
        if refused := self._gate.refusal(account):
            await self._gate.tell(here, account.user, refused)
            return
        author = await self._author(event.message)
        text = str(event.message.get("text") or "")
        names = await self._people.names(words.mentioned(text))
        quoted = words.readable(text, names)
        said = await self._api.ask(
            self._api.web.chat_postMessage(
                channel=event.who.user,
                text=f"About a message of {words.escaped(author)}",
                blocks=_shown(author, quoted, events.files_of(event.message)),
                metadata={
                    "event_type": ASKED,
                    "event_payload": {
                        "author": author,
                        "text": quoted[:MOST_QUOTED],
                        "files": json.dumps(
                            [_named(file) for file in events.files_of(event.message)][:10]
                        ),
                    },
                },
                unfurl_links=False,
                unfurl_media=False,
            )
        )
        channel, ts = str(said.get("channel", "")), str(said["ts"])
        self._posts.direct(channel, event.who.user)
        at = Address("slack", self._bot.team, channel, ts, direct=True)
        view = forms.view("Ask Bascule about this", (QUESTION,), "", at, ts)
        await self._show(at, event.who.user, event.trigger, view)

    async def put_before(
        self, at: Address
    ) -> tuple[tuple[Quote, ...], tuple[Mapping[str, Any], ...]]:
        """What a thread's first post put before the bot. Raises `DeliveryError`."""
        post = await slack_thread.message_at(self._api, at.channel, "", at.thread)
        carried = (post or {}).get("metadata") or {}
        if post is None or not is_ours(self._bot, post) or carried.get("event_type") != ASKED:
            return (), ()
        payload = carried.get("event_payload") or {}
        text = str(payload.get("text", ""))
        quotes = (Quote(str(payload.get("author", "")), text),) if text.strip() else ()
        try:
            files = json.loads(str(payload.get("files") or "[]"))
        except ValueError:
            files = []
        return quotes, tuple(file for file in files if isinstance(file, dict) and file.get("id"))

    def filled(self, event: Filled) -> Answered | None:
        """None for a form that is none of ours."""
        if event.callback != forms.CALLBACK or (found := forms.filled(event.view)) is None:
            return None
        action, at, _, values = found
        if action:
            return Answered(at, action, values)
        text = " ".join(text for name, texts in values if name == QUESTION.name for text in texts)
        return Answered(at, text=text)

    def not_taken(self, event: Filled, why: str) -> BoltResponse:
        """The form stays open, with what was written in it."""
        blocks = event.view.get("blocks") or [{}]
        first = str(blocks[0].get("block_id", ""))
        return BoltResponse(
            status=200,
            body=json.dumps({"response_action": "errors", "errors": {first: why}}),
            headers={"content-type": ["application/json"]},
        )

    async def _author(self, message: Mapping[str, Any]) -> str:
        if user := str(message.get("user") or ""):
            return (await self._people.names((user,))).get(user, user)
        return str(message.get("username") or "an app")

    async def _show(self, at: Address, user: str, trigger: str, view: Mapping[str, Any]) -> None:
        try:
            await self._api.ask(self._api.web.views_open(trigger_id=trigger, view=dict(view)))
        except (Refused, Gone) as error:
            log.info("form not opened", error=str(error))
            await self._tell(at, user, TOO_LATE)
        except DeliveryError as error:
            log.warning("form not opened", error=str(error))
            await self._tell(at, user, f"{error} {error.remedy}".strip())

    async def _tell(self, at: Address, user: str, text: str) -> None:
        await self._posts.whisper(at, user, MessageOut(text, tone="notice"))


def _named(file: Mapping[str, Any]) -> dict[str, Any]:
    return {name: file.get(name) for name in ("id", "name", "mimetype", "size")}


def _shown(author: str, text: str, files: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    quoted = "\n".join(f"> {line}" for line in words.calling_nobody(text)[:MOST_QUOTED].split("\n"))
    names = ", ".join(str(file.get("name") or file["id"]) for file in files)
    about = f"About a message of {author}" + (f", with {names}" if names else "")
    blocks = [{"type": "context", "elements": [plain(about, 300)]}]
    if text.strip():
        blocks.append({"type": "markdown", "text": quoted[:11_500]})
    blocks.append(
        {"type": "context", "elements": [plain("Answers come in this thread; ask here too.", 300)]}
    )
    return blocks
