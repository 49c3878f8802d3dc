"""A turn: one request of a person and everything the agent does until it is answered.

queued ──> running ──> finished
             │  ▲
             ▼  │
           waiting (for a decision; holds no process)
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from agent_service.contract.budgets import Budget

PROMPT_LIMIT = 200_000
"""Characters of one prompt, quoted words included."""

Mode: TypeAlias = Literal["default", "acceptEdits", "plan", "dontAsk", "bypassPermissions"]
TurnState: TypeAlias = Literal["queued", "running", "waiting", "finished"]
Outcome: TypeAlias = Literal[
    "completed", "failed", "interrupted", "refused", "over_budget", "timed_out"
]

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""Every id that a caller names. No dot and no slash, so an id can never climb a path."""

MOST_FILES = 50
"""Files that one turn can bring."""
MODEL_LIMIT = 200
"""Characters of a model's name."""
_INVISIBLE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"}
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that are drawn as nothing."""


def says_nothing(text: str) -> bool:
    """Whether a person would see nothing of it: white space and invisible characters only."""
    return all(c in _BLANK or unicodedata.category(c) in _INVISIBLE for c in text)


STRICT: dict[str, Any] = {"extra": "forbid", "str_strip_whitespace": False}


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked. `person` is the bridge's minted id; `name` is for people and the agent to read."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    person: str
    name: str = ""
    may_decide: bool = True
    """False runs the turn in mode `default`, without rules the workspace's owner stored."""


@dataclass(frozen=True, slots=True)
class QuotedText:
    """Words that are not the asker's own; they reach the agent as data with their author."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    author: str
    text: str


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file that came with the message and was uploaded before: data, never a request.

    Images and PDFs reach the model themselves, as long as they are what `sha256` says; of all
    others it is told the path and the size.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    path: str
    """In the workspace, such as `inbox/report.csv`."""
    size: int
    sha256: str
    """In hexadecimal."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a turn ends by itself. Seconds count while it runs, not while it waits."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    seconds: int = 1800
    steps: int = 200


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What `PUT /v1/turns/{turn_id}` takes. The same id and body may be put any number of times."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    conversation: str
    workspace: str
    prompt: str
    """May say nothing where files are attached."""
    asker: Asker
    quotes: tuple[QuotedText, ...] = ()
    attachments: tuple[AttachedFile, ...] = ()
    mode: Mode | None = None
    """None: as the conversation, workspace or deployment has it."""
    model: str | None = None
    limits: Limits = field(default_factory=Limits)
    budgets: tuple[Budget, ...] = ()
    """What may be used meanwhile. The turn ends as `over_budget` where one is used up."""
    own: bool = False
    """The asker's own, unshared conversation and workspace: only there their own sign-in may be
    used."""


@dataclass(frozen=True, slots=True)
class TurnView:
    """A turn as it stands. `last_seq` is the number of its newest event."""

    turn_id: str
    conversation: str
    state: TurnState
    last_seq: int
    outcome: Outcome | None = None
    reason: str = ""
    decision: str | None = None
    """The decision it waits for."""


@dataclass(frozen=True, slots=True)
class ConversationView:
    """A conversation as it stands. `live` says that a Claude process is up for it."""

    conversation: str
    workspace: str
    state: Literal["idle", "queued", "running", "waiting"]
    live: bool
    mode: Mode
    model: str | None
    turns: int
