"""Conversations as operators see them, and what waits in them for a decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from bridge.contract.people import STRICT

ConversationState: TypeAlias = Literal["idle", "queued", "working", "waiting"]
MessageState: TypeAlias = Literal["queued", "running", "waiting", "done", "failed", "cancelled"]
MESSAGES = 100
"""Messages of a conversation that are shown, the newest."""


@dataclass(frozen=True, slots=True)
class ConversationView:
    """One conversation. `owner` is empty where a stranger began it."""

    id: str
    title: str
    platform: str
    tenant: str
    channel: str
    direct: bool
    owner: str
    owner_name: str
    workspace: str
    agent_conversation: str
    state: ConversationState
    queued: int
    last_active: float


@dataclass(frozen=True, slots=True)
class ConversationsPage:
    """The last active first."""

    conversations: tuple[ConversationView, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class MessageView:
    """What somebody wrote, and what became of it."""

    id: int
    turn: str
    name: str
    text: str
    state: MessageState
    at: float
    done_at: float | None


@dataclass(frozen=True, slots=True)
class ConversationDetail:
    """A conversation with its newest messages, in their order, and its guests' names."""

    conversation: ConversationView
    messages: tuple[MessageView, ...]
    guests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WaitingDecision:
    """A decision that waits. `shown` is an `agent_service.contract.Decision` as JSON; `deciders`
    are the people whose answer counts."""

    id: str
    turn: str
    conversation: ConversationView
    asked_by: str
    shown: dict[str, Any] = field(default_factory=dict)
    deciders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GiveDecision:
    """What `POST /v1/decisions/{id}` takes: as a button in the chat, with the same rights."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    by: str
    outcome: Literal["allow", "deny", "answer"]
    reason: str = ""
    scope: Literal["once", "conversation", "workspace"] = "once"
    mode: Literal["default", "acceptEdits"] | None = None
    answers: tuple[tuple[str, tuple[str, ...]], ...] = ()
