"""What stands in for a post that the platform refuses for good."""

from __future__ import annotations

from dataclasses import replace

from adapters.contract import DeliveryError, MessageOut


def bare(message: MessageOut) -> MessageOut:
    """The words alone: files, buttons and steps are what platforms refuse most."""
    text = message.markdown if message.markdown.strip() else "…"
    return replace(message, markdown=text, choices=(), files=(), steps=())


def lost(message: MessageOut, error: DeliveryError) -> MessageOut:
    """Says that the message, or what belongs to it, is not there, and what can be done."""
    what = "Part of what belongs here could not be posted"
    if message.tone == "decision" and message.choices:
        what = "A question of the agent could not be posted here, so nobody can answer it"
    return MessageOut(
        f"{what}: {error} {error.remedy}".strip(),
        tone="error",
        only_for=message.only_for,
        answers=message.answers,
    )
