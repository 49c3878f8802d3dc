"""A workspace as Slack keeps it: people, channels, messages, files. No network here."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from adapters.testing import Seen
from tests.adapters.slack_payloads import ANN, BEN, BOT, BOT_USER, CHANNEL, DM, EVE, GIL, TEAM


class SlackError(Exception):
    """Slack's `ok: false`."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.code, self.more = code, more


def _user(user: str, name: str, **more: Any) -> dict[str, Any]:
    profile = {"display_name": name, "real_name": name}
    return {"id": user, "team_id": TEAM, "name": name.lower(), "profile": profile, **more}


@dataclass
class Channel:
    id: str
    members: set[str]
    messages: list[dict[str, Any]] = field(default_factory=list)
    archived: bool = False


class Workspace:
    """Everything that outlives a restart of the adapter."""

    def __init__(self) -> None:
        self.users = {
            ANN: _user(ANN, "Ann"),
            BEN: _user(BEN, "Ben"),
            BOT_USER: _user(BOT_USER, "Bascule", is_bot=True),
            GIL: _user(GIL, "Gil", is_restricted=True),
            EVE: _user(EVE, "Eve") | {"team_id": "T0OTHER"},
        }
        self.groups = [{"id": "S0OPS", "handle": "ops", "users": [ANN]}]
        self.channels = {
            CHANNEL: Channel(CHANNEL, {ANN, BEN, GIL, EVE, BOT_USER}),
            DM: Channel(DM, {ANN, BOT_USER}),
        }
        self.ephemeral: list[dict[str, Any]] = []
        self.files: dict[str, dict[str, Any]] = {}
        self.bytes: dict[str, bytes] = {}
        self.reactions: dict[tuple[str, str], list[str]] = {}
        self.statuses: dict[tuple[str, str], str] = {}
        self.status_log: list[str] = []
        self.homes: dict[str, dict[str, Any]] = {}
        self.prompts: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.triggers: dict[str, str] = {}
        """Valid trigger ids and who pressed; each opens one view."""
        self.streams: dict[tuple[str, str], float] = {}
        self.expiring_streams = False
        """As Slack does when nothing is added for too long."""
        self.plain_streams = False
        """They take text and tasks alone."""
        self.changed = asyncio.Event()
        self.numbers = itertools.count(1)
        self._last = 0

    def ts(self) -> str:
        """A time that no other message has."""
        self._last = max(self._last + 1, int(time.time() * 1_000_000))
        return f"{self._last // 1_000_000}.{self._last % 1_000_000:06d}"

    def channel(self, name: str) -> Channel:
        """By its id, or a person's: then their direct messages, made if need be."""
        if name in self.users:
            for found in self.channels.values():
                if found.id.startswith("D") and name in found.members:
                    return found
            made = Channel(f"D{name}", {name, BOT_USER})
            self.channels[made.id] = made
            return made
        if name not in self.channels:
            raise SlackError("channel_not_found")
        return self.channels[name]

    def message(self, channel: str, ts: str) -> dict[str, Any]:
        for message in self.channel(channel).messages:
            if message["ts"] == ts:
                return message
        raise SlackError("message_not_found")

    def add(self, channel: str, message: dict[str, Any]) -> dict[str, Any]:
        """Put a message where it belongs."""
        place = self.channel(channel)
        message = {"type": "message", "ts": self.ts(), **message}
        message = {name: value for name, value in message.items() if value is not None}
        place.messages.append(message)
        if root := message.get("thread_ts"):
            for one in place.messages:
                if one["ts"] == root and one is not message:
                    one["thread_ts"] = root
                    one["reply_count"] = one.get("reply_count", 0) + 1
        self.note()
        return message

    def note(self) -> None:
        self.changed.set()

    async def until(self, check: Any, seconds: float = 20.0) -> Any:
        """Returns what `check()` gives once it is true."""
        async with asyncio.timeout(seconds):
            while not (found := check()):
                self.changed.clear()
                if found := check():
                    break
                try:
                    async with asyncio.timeout(0.2):
                        await self.changed.wait()
                except TimeoutError:
                    pass
        return found

    def own(self, channel: str = "") -> list[dict[str, Any]]:
        """What the bot posted, oldest first."""
        found = [
            message
            for place in self.channels.values()
            for message in place.messages
            if message.get("bot_id") == BOT and channel in ("", place.id)
        ]
        return sorted(found, key=lambda message: message["ts"])

    def seen(self, user: str) -> list[Seen]:
        """What a person sees of the bot's."""
        posts = [
            (message["ts"], message)
            for place in self.channels.values()
            if user in place.members
            for message in place.messages
            if message.get("bot_id") == BOT
        ]
        posts += [(one["ts"], one) for one in self.ephemeral if one["to"] == user]
        return [shown(message) for _, message in sorted(posts, key=lambda pair: pair[0])]


def buttons(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The buttons of a post, but Stop, which belongs to the platform."""
    return [
        element
        for block in message.get("blocks") or ()
        if block["type"] == "actions"
        for element in block["elements"]
    ]


def shown(message: dict[str, Any]) -> Seen:
    """A message as it is read on the screen."""
    texts = []
    for block in message.get("blocks") or ():
        if block["type"] == "markdown":
            texts.append(block["text"])
        elif block["type"] == "section":
            texts.append(block["text"]["text"])
        elif block["type"] == "context":
            texts += [element["text"] for element in block["elements"]]
        elif block["type"] == "task_card":
            texts.append(" ".join(str(block.get(n) or "") for n in ("status", "title", "details")))
    labels = tuple(
        element["text"]["text"] for element in buttons(message) if element["action_id"] != "stop"
    )
    files = tuple(file["name"] for file in message.get("files") or ())
    return Seen("\n".join(texts) if texts else message.get("text", ""), labels, files)
