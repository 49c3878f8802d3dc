"""What travels between a chat platform and the bridge.

Inbound values are facts an adapter has verified with its platform; the bridge trusts the ids in
them and nothing in their texts. Outbound values are neutral: an adapter renders them as its
platform does best and never sends less than they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Identity:
    """One account on one platform. `tenant` is the team or server the *account* belongs to."""

    platform: str
    tenant: str
    user: str


@dataclass(frozen=True, slots=True)
class Sender:
    """Who did it. `name` is for people to read; it identifies nobody."""

    identity: Identity
    name: str
    host_owner: bool = False
    """The operating system proved that this peer runs as the owner of the deployment's home.
    Such a person is an operator. Only an adapter that asks the kernel may set it."""
    groups: tuple[str, ...] = ()
    """Ids of the user groups or roles that the platform says this account is in now."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a conversation is. Equal addresses are the same conversation; opaque to the bridge."""

    platform: str
    tenant: str
    channel: str
    thread: str = ""
    direct: bool = False
    """Nobody but the bot and one person can read here."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file a person sent. `ref` is the adapter's own handle for `Adapter.fetch`: it names this
    file alone, and is the same whenever the message is delivered again.

    `name` and `media_type` are the sender's words and decide nothing.
    """

    ref: str
    name: str
    media_type: str
    size: int
    """Bytes, as the platform says; 0 where it does not."""


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of somebody else that the sender put before the agent. They are data, not a request."""

    author: str
    text: str
    by: Identity | None = None
    """Whose account wrote it, where the platform says so."""


@dataclass(frozen=True, slots=True)
class MessageIn:
    """A message for the agent.

    `keys` are all the ids under which the platform may deliver this one message again; one that
    is known makes it a duplicate. `order` is the platform's own time or snowflake as an integer:
    messages of an address are taken by it, so that several gateways cannot swap them.
    """

    keys: tuple[str, ...]
    address: Address
    sender: Sender
    text: str
    order: int
    sent_at: datetime
    attachments: tuple[Attachment, ...] = ()
    quotes: tuple[Quote, ...] = ()
    earlier: int = 0
    """So many messages of the place before this one were asked for: the bridge reads them back
    by `Earlier` when its turn comes."""


@dataclass(frozen=True, slots=True)
class ActionIn:
    """A choice was taken. `action` is what `Choice.action` held and is looked up, never trusted.

    `values` holds what a form or a menu brought: field name to text(s).
    """

    keys: tuple[str, ...]
    address: Address
    sender: Sender
    action: str
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class CommandIn:
    """`/bascule word rest` or `!word rest`, already taken apart. `name` is lower case.

    `people` are the accounts that `rest` mentions, in order; their mentions may stand in it too.
    """

    keys: tuple[str, ...]
    address: Address
    sender: Sender
    name: str
    rest: str = ""
    people: tuple[Identity, ...] = ()


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Something happened to a place, a message or an account.

    `opened`: a person opened the place and will probably write; warm up. `edited` and `deleted`
    name the message by one of its `keys` (with its new text). `removed`: the bot or the account
    is gone from there.
    """

    kind: Literal["opened", "edited", "deleted", "removed"]
    address: Address
    sender: Sender
    key: str = ""
    text: str = ""


Inbound: TypeAlias = MessageIn | ActionIn | CommandIn | Lifecycle


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a form. `options` makes it a menu; `many` lets several be chosen."""

    name: str
    label: str
    options: tuple[tuple[str, str], ...] = ()
    """(value, label) pairs; empty means free text."""
    many: bool = False
    required: bool = True
    placeholder: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A button. With a `form` it first asks for its fields and sends them in `ActionIn.values`."""

    action: str
    label: str
    style: Literal["plain", "primary", "danger"] = "plain"
    form: tuple[Field, ...] = ()
    hint: str = ""
    """One line about what it does, where the platform has room for it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the agent did. Platforms may fold finished steps, never drop a failed one."""

    id: str
    title: str
    state: Literal["running", "done", "failed", "waiting"]
    detail: str = ""


FOLDED = "folded"
"""The `id` of a step that stands for several finished ones, which are not shown by themselves any
more. Who shows each step as it comes can leave it out."""


@dataclass(frozen=True, slots=True)
class FileOut:
    """A file for the thread, whole in memory (the bridge limits its size)."""

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class MessageOut:
    """A post. `markdown` is CommonMark with tables, within `Capabilities.text_limit`.

    An edit replaces all of it, so a post without choices loses the ones it had.
    """

    markdown: str
    choices: tuple[Choice, ...] = ()
    steps: tuple[Step, ...] = ()
    files: tuple[FileOut, ...] = ()
    status: str = ""
    """One line about what goes on right now; empty when nothing does."""
    only_for: Identity | None = None
    """Only this person may see it; an adapter that cannot do so sends it to them directly."""
    tone: Literal["answer", "notice", "error", "decision"] = "answer"
    answers: str = ""
    """The first of the `MessageIn.keys` of what this belongs to; empty where it is no answer to a
    message. A platform may show it there as a reply."""
    final: bool = True
    """False while more will be edited in. A platform may render unfinished posts more cheaply."""


@dataclass(frozen=True, slots=True)
class PostRef:
    """A post on the platform, enough to edit it after any restart."""

    id: str
