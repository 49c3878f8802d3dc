"""What is wrong with a message, before anything is done about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from adapters.contract import ActionIn, CommandIn, MessageIn
from agent_service.contract import PROMPT_LIMIT, says_nothing


def problem_with(said: MessageIn) -> tuple[MessageIn, str]:
    """(the message as it can be stored, what is wrong with it in words for the sender)."""
    said = replace(
        said,
        attachments=tuple(
            replace(a, name=_repaired(a.name), media_type=_repaired(a.media_type))
            for a in said.attachments
        ),
    )
    try:
        said.text.encode()
        said.sender.name.encode()
        for quote in said.quotes:
            f"{quote.author}{quote.text}".encode()
    except UnicodeEncodeError:
        bare = replace(
            said,
            text=_repaired(said.text),
            sender=replace(said.sender, name=_repaired(said.sender.name)),
            quotes=(),
            attachments=(),
        )
        return bare, "That message is not valid text (broken UTF-8). Please send it again."
    size = len(said.text) + sum(len(q.text) + len(q.author) for q in said.quotes)
    if size > PROMPT_LIMIT:
        bare = replace(said, text=said.text[:1000], quotes=())
        return bare, (
            f"That message has {size:,} characters; {PROMPT_LIMIT:,} are the most the agent takes. "
            "Please shorten it, or send the long part as a file."
        )
    if says_nothing(said.text) and not said.attachments:
        return said, "That message is empty. Please write what the agent should do."
    return said, ""


Given = TypeVar("Given", ActionIn, CommandIn)


def repaired(inbound: Given) -> Given:
    """As it can be stored and answered: half a character becomes a question mark."""
    sender = replace(inbound.sender, name=_repaired(inbound.sender.name))
    if isinstance(inbound, CommandIn):
        name, rest = _repaired(inbound.name), _repaired(inbound.rest)
        return replace(inbound, sender=sender, name=name, rest=rest)
    values = tuple(
        (_repaired(name), tuple(_repaired(text) for text in texts))
        for name, texts in inbound.values
    )
    return replace(inbound, sender=sender, action=_repaired(inbound.action), values=values)


def _repaired(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
