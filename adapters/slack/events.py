"""What Slack delivers, as facts. Nothing is asked and nothing decided here.

`parse` takes the body of an Events API call, an interaction or a slash command, as slack-bolt
gives it. The payloads of `tests/adapters/slack_payloads` show each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

_WORDS = {"", "file_share", "thread_broadcast", "me_message"}
"""Subtypes of `message` that hold what a person wrote."""


@dataclass(frozen=True, slots=True)
class Who:
    """`team` is where the account is at home, as far as the payload says; empty where it does not.
    The `team` of a message is no such word: it may be the workspace in which it was written."""

    user: str
    team: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """A message of somebody else that was passed on."""

    author: str
    text: str
    files: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """A person wrote. `mention` says that Slack delivered it because the bot was mentioned."""

    who: Who
    channel: str
    ts: str
    text: str
    thread: str = ""
    direct: bool = False
    mention: bool = False
    shared: bool = False
    """The channel is shared with another organisation."""
    files: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """A person edited or deleted what they wrote."""

    kind: Literal["edited", "deleted"]
    who: Who
    channel: str
    ts: str
    thread: str
    direct: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A person opened the bot's page."""

    who: Who
    channel: str
    tab: Literal["home", "messages"]


@dataclass(frozen=True, slots=True)
class Pressed:
    """A button. `thread` is that of the post; `metadata` what the post carries, if it came."""

    who: Who
    name: str
    channel: str
    ts: str
    thread: str
    button: str
    value: str
    at: str
    trigger: str = field(repr=False)
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """A form was sent."""

    who: Who
    name: str
    callback: str
    view: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Slash:
    """`/bascule …`, written where Slack tells no thread."""

    who: Who
    name: str
    channel: str
    text: str
    trigger: str = field(repr=False)
    answer_at: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pointed:
    """The shortcut of a message: somebody wants to ask about it."""

    who: Who
    name: str
    channel: str
    message: Mapping[str, Any] = field(repr=False)
    trigger: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Uninstalled:
    """The app is gone from the workspace, or its tokens are. `what` is Slack's name of it."""

    what: str


Event: TypeAlias = Said | Changed | Opened | Pressed | Filled | Slash | Pointed | Uninstalled | None


def parse(body: Mapping[str, Any]) -> Event:
    """None for what is nobody's words and no sign of trouble: bots, joins, other apps."""
    kind = body.get("type")
    if kind == "event_callback":
        return _event(body, _map(body.get("event")))
    if kind == "block_actions":
        return _pressed(body)
    if kind == "view_submission":
        view = _map(body.get("view"))
        return Filled(_actor(body), _name(body), str(view.get("callback_id", "")), view)
    if kind == "message_action":
        return Pointed(
            _actor(body),
            _name(body),
            _id(body.get("channel")),
            _map(body.get("message")),
            str(body.get("trigger_id", "")),
        )
    if "command" in body:
        return Slash(
            Who(str(body.get("user_id", ""))),
            str(body.get("user_name", "")),
            str(body.get("channel_id", "")),
            str(body.get("text", "")),
            str(body.get("trigger_id", "")),
            str(body.get("response_url", "")),
        )
    return None


def _event(body: Mapping[str, Any], event: Mapping[str, Any]) -> Event:
    kind = event.get("type")
    if kind in ("app_uninstalled", "tokens_revoked"):
        if kind == "tokens_revoked" and not _map(event.get("tokens")).get("bot"):
            return None  # a person's token, none of ours
        return Uninstalled(str(kind))
    if kind == "app_home_opened":
        tab = event.get("tab")
        if tab not in ("home", "messages"):
            return None
        return Opened(
            Who(str(event.get("user", ""))),
            str(event.get("channel", "")),
            "home" if tab == "home" else "messages",
        )
    if kind not in ("message", "app_mention"):
        return None
    subtype = event.get("subtype", "")
    if subtype == "message_changed":
        return _edited(event)
    if subtype == "message_deleted":
        return _deleted(event, _map(event.get("previous_message")), event.get("deleted_ts"))
    shared = bool(body.get("is_ext_shared_channel"))
    return said(event, str(event.get("channel", "")), shared=shared)


def said(message: Mapping[str, Any], channel: str, *, shared: bool = False) -> Said | None:
    """A message as an event or the history of a conversation has it."""
    user = str(message.get("user") or "")
    if not user or message.get("bot_id") or str(message.get("subtype") or "") not in _WORDS:
        return None
    shares = tuple(
        _share(part)
        for part in message.get("attachments") or ()
        if isinstance(part, Mapping) and (part.get("is_share") or part.get("is_msg_unfurl"))
    )
    return Said(
        who=Who(user, str(message.get("user_team") or "")),
        channel=channel,
        ts=str(message.get("ts", "")),
        text=str(message.get("text") or ""),
        thread=str(message.get("thread_ts") or ""),
        direct=_direct(message, channel),
        mention=message.get("type") == "app_mention",
        shared=shared,
        files=files_of(message),
        shares=shares,
    )


def files_of(message: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The files of a message; what was deleted meanwhile is left out."""
    found = (part for part in message.get("files") or () if isinstance(part, Mapping))
    return tuple(part for part in found if part.get("mode") != "tombstone" and part.get("id"))


def _share(part: Mapping[str, Any]) -> Share:
    author = part.get("author_name") or part.get("author_subname") or part.get("author_id") or ""
    return Share(str(author), str(part.get("text") or ""), files_of(part))


def _edited(event: Mapping[str, Any]) -> Changed | None:
    now, before = _map(event.get("message")), _map(event.get("previous_message"))
    if now.get("subtype") == "tombstone":
        return _deleted(event, before, now.get("ts"))
    if now.get("text") == before.get("text") or now.get("bot_id") or not now.get("user"):
        return None  # a link's preview, a reply's count, our own post
    channel = str(event.get("channel", ""))
    return Changed(
        "edited",
        Who(str(now["user"]), str(now.get("user_team") or "")),
        channel,
        str(now.get("ts", "")),
        str(now.get("thread_ts") or ""),
        _direct(event, channel),
        str(now.get("text") or ""),
    )


def _deleted(event: Mapping[str, Any], before: Mapping[str, Any], ts: object) -> Changed | None:
    if not before.get("user") or before.get("bot_id"):
        return None
    channel = str(event.get("channel", ""))
    return Changed(
        "deleted",
        Who(str(before["user"]), str(before.get("user_team") or "")),
        channel,
        str(ts or before.get("ts", "")),
        str(before.get("thread_ts") or ""),
        _direct(event, channel),
    )


def _pressed(body: Mapping[str, Any]) -> Pressed | None:
    actions = body.get("actions") or ()
    message, container = _map(body.get("message")), _map(body.get("container"))
    if not actions or not isinstance(actions[0], Mapping):
        return None
    action = actions[0]
    ts = str(message.get("ts") or container.get("message_ts") or "")
    metadata = message.get("metadata")
    return Pressed(
        who=_actor(body),
        name=_name(body),
        channel=_id(body.get("channel")) or str(container.get("channel_id", "")),
        ts=ts,
        thread=str(message.get("thread_ts") or container.get("thread_ts") or ts),
        button=str(action.get("action_id", "")),
        value=str(action.get("value", "")),
        at=str(action.get("action_ts", "")),
        trigger=str(body.get("trigger_id", "")),
        metadata=metadata if isinstance(metadata, Mapping) else None,
    )


def _actor(body: Mapping[str, Any]) -> Who:
    user = _map(body.get("user"))
    return Who(str(user.get("id", "")), str(user.get("team_id") or ""))


def _name(body: Mapping[str, Any]) -> str:
    user = _map(body.get("user"))
    return str(user.get("username") or user.get("name") or "")


def _direct(event: Mapping[str, Any], channel: str) -> bool:
    return event.get("channel_type", "im") == "im" and channel.startswith("D")


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _id(value: object) -> str:
    return str(_map(value).get("id", ""))
