"""What stands in a conversation, read back from Slack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from adapters.contract import Gone
from adapters.slack.api import Api

PAGE = 200


async def replies(
    api: Api, channel: str, thread: str, oldest: str
) -> AsyncIterator[Mapping[str, Any]]:
    """The messages of a thread since `oldest` (a Slack time), that one included, the oldest
    first; of a channel's own, where `thread` is empty. Nothing where it is gone. Raises
    `DeliveryError`."""
    if not thread:
        newest_first = [one async for one in history(api, channel, oldest)]
        for message in reversed(newest_first):
            yield message
        return
    cursor = ""
    while True:
        try:
            said = await api.ask(
                api.web.conversations_replies(
                    channel=channel,
                    ts=thread,
                    oldest=oldest,
                    inclusive=True,
                    include_all_metadata=True,
                    limit=PAGE,
                    cursor=cursor or None,
                )
            )
        except Gone:
            return
        for message in said.get("messages") or ():
            if str(message.get("ts", "")) >= oldest:  # the thread's root always comes along
                yield message
        cursor = str((said.get("response_metadata") or {}).get("next_cursor") or "")
        if not cursor:
            return


async def history(api: Api, channel: str, oldest: str) -> AsyncIterator[Mapping[str, Any]]:
    """A channel's own messages since `oldest`, the newest first. Raises `DeliveryError`."""
    cursor = ""
    while True:
        said = await api.ask(
            api.web.conversations_history(
                channel=channel,
                oldest=oldest,
                inclusive=True,
                include_all_metadata=True,
                limit=PAGE,
                cursor=cursor or None,
            )
        )
        for message in said.get("messages") or ():
            yield message
        cursor = str((said.get("response_metadata") or {}).get("next_cursor") or "")
        if not cursor:
            return


async def message_at(api: Api, channel: str, thread: str, ts: str) -> Mapping[str, Any] | None:
    """One message by its time, with its metadata. Raises `DeliveryError`."""
    said = await api.ask(
        api.web.conversations_replies(
            channel=channel,
            ts=thread or ts,
            oldest=ts,
            latest=ts,
            inclusive=True,
            include_all_metadata=True,
            limit=2,
        )
    )
    found = (one for one in said.get("messages") or () if one.get("ts") == ts)
    return next(found, None)
