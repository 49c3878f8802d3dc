"""What people do in a `SlackDouble`: write, press, fill in, give commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.adapters.slack_double import SlackDouble
from tests.adapters.slack_payloads import ANN, BOT_USER, CHANNEL, DM, event, interaction, written
from tests.adapters.slack_workspace import buttons, shown


class Person:
    """One account. Each action returns whether Slack got its acknowledgement."""

    def __init__(self, slack: SlackDouble, user: str = ANN) -> None:
        self.slack, self.user = slack, user
        self.space = slack.space
        self.last: dict[str, Any] = {}
        """The newest message."""

    async def write(
        self, text: str, channel: str = CHANNEL, thread: str = "", *, files: Sequence[Any] = (),
        mention: bool = False, deliver: bool = True, **more: Any,
    ) -> bool:  # fmt: skip
        """Write a message; with `mention` the bot is mentioned. Slack delivers it as `message`,
        and a mention in a channel as `app_mention` besides."""
        text = written(text)
        if mention:
            text = f"<@{BOT_USER}> {text}"
        self.last = self.space.add(
            channel,
            {"user": self.user, "text": text, "team": "T0TEAM", "thread_ts": thread or None,
             "files": list(files) or None, **({"subtype": "file_share"} if files else {}), **more},
        )  # fmt: skip
        return await self.deliver(self.last, channel) if deliver else True

    def events(self, message: Mapping[str, Any], channel: str) -> list[dict[str, Any]]:
        """How Slack delivers a message."""
        name = "message_im" if channel == DM else "message_channels"
        fields = {n: message.get(n) for n in ("user", "text", "ts", "thread_ts", "files", "subtype",
                                              "team", "attachments")}  # fmt: skip
        found = [event(name, **fields, channel=channel, event_ts=message["ts"])]
        if f"<@{BOT_USER}>" in message["text"] and channel != DM:
            found.append(event("app_mention", **fields, channel=channel, event_ts=message["ts"]))
        return found

    async def deliver(self, message: Mapping[str, Any], channel: str = CHANNEL) -> bool:
        for body in self.events(message, channel):
            if await self.slack.deliver(body) is None:
                return False
        return True

    def post(self, text: str) -> dict[str, Any]:
        """The newest post of the bot's that shows this text."""
        for message in reversed(self.space.own()):
            if text in shown(message).text:
                return message
        raise AssertionError(f"no post shows {text!r}: {self.space.seen(self.user)}")

    def trigger(self) -> str:
        made = f"trigger-{next(self.space.numbers)}"
        self.space.triggers[made] = self.user
        return made

    async def press(self, post: str, label: str, *, metadata: bool = False) -> bool:
        """Press a button; see `press_in`."""
        return await self.press_in(self.post(post), label, metadata=metadata)

    async def press_in(
        self, message: Mapping[str, Any], label: str, *, metadata: bool = False
    ) -> bool:
        """With `metadata` Slack delivers the post with it."""
        button = next(b for b in buttons(dict(message)) if b["text"]["text"] == label)
        channel = self.channel_of(message)
        body = interaction("block_actions", trigger_id=self.trigger())
        body["user"] |= {"id": self.user, "username": self.user.lower()}
        kept = {n: v for n, v in message.items() if metadata or n != "metadata"}
        body["message"] = json.loads(json.dumps(kept))
        body["channel"] = {"id": channel, "name": "x"}
        thread = {"thread_ts": message["thread_ts"]} if "thread_ts" in message else {}
        body["container"] = {"type": "message", "message_ts": message["ts"],
                             "channel_id": channel, **thread}  # fmt: skip
        body["actions"] = [{**button, "block_id": "x", "action_ts": self.space.ts()}]
        return await self.slack.deliver(body, "interactive") is not None

    def channel_of(self, message: Mapping[str, Any]) -> str:
        for place in self.space.channels.values():
            if any(one["ts"] == message["ts"] for one in place.messages):
                return place.id
        return str(message["channel"])

    async def fill(self, values: Mapping[str, Sequence[str]]) -> Any:
        """Send the newest modal with these values; the acknowledgement's payload, or None."""
        view = self.space.views[-1]["view"]
        body = interaction("view_submission")
        body["user"] |= {"id": self.user, "username": self.user.lower()}
        body["view"] |= {name: view[name] for name in ("id", "blocks", "private_metadata",
                                                       "callback_id")}  # fmt: skip
        given = {
            block["block_id"]: {
                "value": _state(block["element"], values.get(block["block_id"], ()))
            }
            for block in view["blocks"]
        }
        body["view"]["state"] = {"values": given}
        return await self.slack.deliver(body, "interactive")

    async def slash(self, text: str, channel: str = CHANNEL) -> Any:
        """The acknowledgement's payload: what Slack shows the person."""
        body = interaction(
            "slash_command", text=text, user_id=self.user, channel_id=channel,
            trigger_id=self.trigger(), response_url=f"{self.slack.url}/respond",
        )  # fmt: skip
        return await self.slack.deliver(body, "slash_commands")


def _state(element: Mapping[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """What Slack sends for an element that was filled in; `given` by value or label."""
    kind = element["type"]
    if kind == "plain_text_input":
        return {"type": kind, "value": given[0] if given else None}
    chosen = [
        option
        for text in given
        for option in element["options"]
        if text in (option["value"], option["value"].removeprefix("="), option["text"]["text"])
    ]
    assert len(chosen) == len(given), (given, element["options"])
    if kind == "static_select":
        return {"type": kind, "selected_option": chosen[0] if chosen else None}
    return {"type": kind, "selected_options": chosen}
