"""The bot's page in Slack: how a person stands, what waits for them, their conversations."""

from __future__ import annotations

from typing import Any

from adapters.contract import Address, Host, Identity
from adapters.slack.api import Bot
from adapters.slack.blocks import plain, section
from adapters.slack.ledger import split
from adapters.slack.words import calling_nobody, clipped, escaped

MOST = 10
_STATES = {
    "idle": "",
    "queued": " · waits for its turn",
    "working": " · working",
    "waiting": " · *waits for your answer*",
}


async def home(bot: Bot, host: Host, who: Identity) -> dict[str, Any]:
    """The view for `views.publish`; nothing of anybody else's is in it."""
    person = await host.person(who)
    if person is None:
        return _view(
            [
                _header("You are not let in yet"),
                section(
                    "Write me a direct message: you get a code, and somebody who runs Bascule here "
                    "lets you in with it."
                ),
            ]
        )
    blocks = [
        _header(f"Hello {person.name}"),
        section(
            f"You are {_said(person.role)} here."
            + (f" Permission mode: *{_said(person.mode)}*." if person.mode else "")
        ),
    ]
    if person.budget:
        blocks.append(section("\n".join(_said(line) for line in person.budget)))
    if person.decisions:
        blocks += [_header("Waiting for your answer")]
        for one in person.decisions[:MOST]:
            post = split(one.post)[1] if one.post else ""
            shown = _link(bot, one.address, one.title, post)
            blocks.append(section(f"{shown} · until {_date(one.expires_at.timestamp())}"))
    conversations = [
        one for one in await host.conversations(who) if one.address.platform == "slack"
    ]
    if conversations:
        blocks += [_header("Your conversations")]
        blocks += [
            section(
                f"{_link(bot, one.address, one.title)}{_STATES[one.state]} · "
                f"{_date(one.last_active.timestamp())}"
            )
            for one in conversations[:MOST]
        ]
    admin = person.role != "member"
    commands = [f"`{one.name}` {_said(one.help)}" for one in host.command_views(admin)]
    blocks += [
        _header("What you can write"),
        section(
            "Mention me in a channel, or write me a direct message: I work and answer in the "
            "thread. In a thread, `!word` gives a command; elsewhere the slash command does."
        ),
    ]
    text = ""
    for line in commands:
        if len(text) + len(line) > 2900:
            blocks.append(section(text))
            text = ""
        text += f"{line}\n"
    if text:
        blocks.append(section(text))
    return _view(blocks)


def link(bot: Bot, at: Address, ts: str = "") -> str:
    """Where a post is, for a browser; empty where the workspace's own address is not known."""
    post = ts or at.thread
    if not bot.url or not post:
        return ""
    place = f"{bot.url.rstrip('/')}/archives/{at.channel}/p{post.replace('.', '')}"
    return f"{place}?thread_ts={at.thread}&cid={at.channel}" if at.thread else place


def _link(bot: Bot, at: Address, title: str, ts: str = "") -> str:
    words = _said(clipped(title, 150)).replace("|", "¦") or "A conversation"
    address = link(bot, at, ts)
    return f"<{escaped(address)}|{words}>" if address else words


def _said(text: str) -> str:
    return escaped(calling_nobody(" ".join(text.split())))


def _date(seconds: float) -> str:
    return f"<!date^{int(seconds)}^{{date_short_pretty}} {{time}}|soon>"


def _header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": plain(text, 150)}


def _view(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "home", "blocks": blocks[:100]}
