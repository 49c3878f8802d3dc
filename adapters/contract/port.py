"""The port: what an adapter gives the bridge, and what the bridge gives an adapter.

An adapter translates; it decides nothing, stores no conversation and never learns what a turn is.
`adapters.testing` holds the conformance suite that every adapter must pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from adapters.contract.messages import (
    Address,
    Attachment,
    Field,
    Identity,
    Inbound,
    MessageOut,
    PostRef,
    Quote,
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the platform can do. The bridge heeds every field; there is no flag for show."""

    text_limit: int
    """Characters of Markdown in one post; the bridge splits, never cuts."""
    edit_interval: float
    """Seconds between two edits of one post that the platform bears for long."""
    file_limit: int
    """Bytes of one file going out. A larger one is named in its post with its size instead."""


@dataclass(frozen=True, slots=True)
class Health:
    """`state` with one sentence for an operator and what to do about it."""

    state: Literal["starting", "ok", "degraded", "failed"]
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of something handed over. All three mean: acknowledge it to the platform.

    `stored`: durable, will be acted on. `duplicate`: was stored before. `ignored`: the bridge
    has nothing to do with it. `reply` is a short text only for the sender, to be shown at once
    where the platform has a place for that (a slash command's answer).
    """

    outcome: Literal["stored", "duplicate", "ignored"]
    reply: MessageOut | None = None


@dataclass(frozen=True, slots=True)
class ConversationView:
    """A conversation as its own people may see it."""

    address: Address
    title: str
    state: Literal["idle", "queued", "working", "waiting"]
    last_active: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """A conversation that somebody wrote in. `newest` is the highest `MessageIn.order` stored."""

    address: Address
    newest: int


@dataclass(frozen=True, slots=True)
class DecisionView:
    """A question of the agent that waits for an answer. `post` shows it, once it was sent."""

    address: Address
    title: str
    post: PostRef | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PersonView:
    """How a person stands with the bridge, in words for that person alone."""

    name: str
    role: str
    """operator, admin or member."""
    mode: str
    """The permission mode of their workspace; empty while it cannot be told."""
    decisions: tuple[DecisionView, ...] = ()
    """Those that wait in their own conversations, the oldest first."""
    budget: tuple[str, ...] = ()
    """What they used today and of how much, a line each; empty while it cannot be told."""


@dataclass(frozen=True, slots=True)
class CommandView:
    """A command that can be given. `help` fits on a phone's line."""

    name: str
    help: str
    people: bool = False
    """Its `rest` may name other people."""


class Host(Protocol):
    """What the bridge gives an adapter for as long as `Adapter.run` runs."""

    async def submit(self, inbound: Inbound) -> Receipt:
        """Hand something over. Returns once it is durable; only then acknowledge the platform.

        Calls for one address must be awaited one after another, in the platform's order.
        Raises `NotStored` when nothing was stored: let the platform deliver it again.
        Cancelling the call leaves it stored or not stored; handing it over again is harmless.
        """
        ...

    async def conversations(self, who: Identity) -> Sequence[ConversationView]:
        """This person's conversations, the last active first; empty for a stranger."""
        ...

    async def person(self, who: Identity) -> PersonView | None:
        """How this person stands; None for a stranger and for one who is not let in."""
        ...

    async def known(self, at: Address) -> bool:
        """Whether a conversation is there: somebody who was let in wrote to the bot."""
        ...

    async def places(self, platform: str, since: datetime) -> Sequence[Place]:
        """Where a message was stored since then: read them back after a gap and hand over what
        was missed. Handing over again what was stored is harmless."""
        ...

    async def suggest(
        self, who: Identity, at: Address, name: str, typed: str
    ) -> Sequence[tuple[str, str]]:
        """What could follow the command `name` where `typed` was written so far: (rest, label)
        pairs, the likeliest first, at most 25. Empty for a stranger, and where nothing is known."""
        ...

    async def form(self, action: str) -> Sequence[Field]:
        """The form of a choice that was posted with this `action`, for a platform whose buttons
        cannot hold it; empty where there is none. Answered within a second."""
        ...

    def command_views(self, admin: bool = False) -> Sequence[CommandView]:
        """What a member can give, or an admin, in the order of `help`. The same for as long as
        the process runs."""
        ...


@runtime_checkable
class Adapter(Protocol):
    """One chat platform."""

    @property
    def name(self) -> str:
        """The platform's name: the `platform` of its identities and addresses."""
        ...

    @property
    def caps(self) -> Capabilities: ...

    async def run(self, host: Host) -> None:
        """Serve until cancelled. Reconnects by itself; returns only when told to stop.

        Raises `SetupInvalid` when the platform refuses the settings for good. After a
        cancellation nothing of it is left running and nothing more is submitted.
        """
        ...

    async def send(self, to: Address, message: MessageOut, key: str) -> PostRef:
        """Post once per `key`: a second call with the same key, even after a crash of the whole
        process between the platform's acceptance and the return, gives the first post's ref
        and adds no second post. The post found need not be brought up to date: an edit follows.
        Raises `DeliveryError`."""
        ...

    async def edit(self, to: Address, ref: PostRef, message: MessageOut) -> None:
        """Replace a post. The last edit wins. Raises `DeliveryError`; `Gone` if it was deleted."""
        ...

    def fetch(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """The bytes of an attachment, in order, whole or not at all: what breaks off raises.

        Raises `FileRefused` where trying again cannot help: its words are shown to the sender.
        `TryLater` is tried again; so is any other error, a few times. May be called again for the
        same attachment, after a restart too, as long as its message is not answered. The caller
        may close the iterator before its end, when it has enough: then nothing is left open.
        """
        ...

    async def health(self) -> Health: ...


# Optional protocols: the bridge asks `isinstance(adapter, Status)` and does without elsewhere.
# Forms need none: a `Choice` carries its form, because a platform must open it within seconds.


@runtime_checkable
class Status(Protocol):
    """A status line beside the conversation, outside any post ("is thinking …")."""

    async def status(self, at: Address, text: str) -> None:
        """Show `text`, or clear with an empty one. Lost when the process ends; never raises."""
        ...


@runtime_checkable
class Reacts(Protocol):
    """A mark on a person's own message."""

    async def react(
        self, at: Address, message_key: str, mark: Literal["queued", "working", "done", "failed"]
    ) -> None:
        """Replace the bot's earlier mark on the message. Never raises for a missing message."""
        ...


@runtime_checkable
class Serves(Protocol):
    """HTTP that the platform calls, on the bridge's own address."""

    def routes(self, host: Host) -> Sequence[object]:
        """aiohttp's route definitions (`web.post("/events", handler)`), mounted below the
        adapter's name: `/slack/events`. Asked once, before the bridge listens; empty where
        these settings need none. The routes are public: each handler verifies who calls, answers
        503 while `run` does not run, and raises nothing.
        """
        ...


@runtime_checkable
class Earlier(Protocol):
    """What was written in a place before, read only where somebody asks for it."""

    async def earlier(self, at: Address, before: str, most: int) -> Sequence[Quote]:
        """The last messages of the place, at most `most`, the oldest first: those before the one
        of the key `before`, or the newest where that is the key of no message there. The bot's
        own are left out. Raises `DeliveryError`."""
        ...
