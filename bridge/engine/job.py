"""A message as a worker takes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from adapters.contract import ActionIn, Address, MessageIn, PostRef

MESSAGE: TypeAdapter[MessageIn] = TypeAdapter(MessageIn)
ACTION: TypeAdapter[ActionIn] = TypeAdapter(ActionIn)


class LeaseLost(Exception):
    """Somebody else handles the conversation now: drop everything, write nothing more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to handle a conversation, until somebody raises its fence."""

    conversation: str
    fence: int


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A message at which the bridge failed as often as it tries."""

    message: int
    turn_id: str
    at: Address


@dataclass(frozen=True, slots=True)
class Job:
    """One message that its conversation's worker handles now."""

    lease: Lease
    message: int
    turn_id: str
    at: Address
    said: MessageIn
    request: dict[str, Any]
    """The body of `PUT /v1/turns`, the same in every try."""
    problem: str = ""
    """Why it cannot go to the agent, in words for the sender; empty when it can."""
    private: bool = False
    """Only the sender should read the problem."""
    resumed: bool = False
    """It was handled before: by a process that died, or until it had to wait."""
    after_seq: int = 0
    """The event it waited at."""
    stop_asked: bool = False
    fetched: bool = False
    """Its files were dealt with: those in the request are in the workspace."""
    notice: str = ""
    """What its sender is told with it."""
    refused: tuple[str, ...] = ()
    """Files that could not be had, in words for the sender."""
    announcement: str = ""
    """What is posted before its answer; such a message is nobody's post on the platform."""
    posts: dict[str, PostRef] = field(default_factory=dict)
    """What is on the platform already, by key."""
