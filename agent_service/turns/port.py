"""What a turn needs of an agent, so that the real CLI and a scripted one are driven alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from agent_service.contract.budgets import Budget
from agent_service.contract.decisions import Decision
from agent_service.contract.events import Event
from agent_service.contract.turns import Outcome, TurnRequest
from agent_service.policy.effective import Effective
from agent_service.policy.rules import ASKING_ANY
from agent_service.workspaces.directory import Workspace


@dataclass(frozen=True, slots=True)
class Deferred:
    """The agent wants to make a call that a person has to allow. The session must be closed."""

    tool_use_id: str
    tool: str
    input: dict[str, Any]
    decision: Decision
    """As it will be shown; `id`, `turn_id` and `expires_at` are filled in by the runner."""
    file_sha256: str = ""
    """Of the file that an edit would change, as it was when the call was made."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The agent has nothing more to do for this prompt."""

    outcome: Outcome
    reason: str = ""
    message: str = ""
    remedy: str = ""
    broken: bool = False
    """The process is gone or in doubt: do not use this session again."""


SessionItem: TypeAlias = Event | Deferred | Ended


@dataclass(frozen=True, slots=True)
class Release:
    """How the call that lies unresolved in a session is to be settled, when it is resumed.

    An empty `tool_use_id` stands for whatever lies there; such a call is only ever denied.

    It is let go only where id, tool, the hash of the input and, for edits, of the file are those
    that were shown, and only if `record` says that this is the first time, and wanted still.
    """

    tool_use_id: str
    tool: str
    input_sha256: str
    file_sha256: str
    allow: bool
    message: str = ""
    """For the model, where it is denied."""
    stop: bool = False
    """Denied because the turn is over: the model is not to be asked again."""
    answers: dict[str, list[str]] = field(default_factory=dict)
    then: Effective = field(default_factory=Effective)
    """Under which the session goes on once the call is settled."""
    record: Callable[[], Awaitable[bool]] | None = None
    must_ask: tuple[str, ...] = ()
    """Rules by which the agent asks for a call that it would take for harmless: a denied one must
    not run. They hold as long as the session does."""

    @classmethod
    def deny_any(cls, message: str) -> Release:
        """Deny what may lie unresolved, and do not ask the model about it."""
        return cls("", "", "", "", allow=False, message=message, stop=True, must_ask=ASKING_ANY)


@dataclass(frozen=True, slots=True)
class OwnSignIn:
    """A person's own sign-in, for a session that runs on it and for nobody else's turn."""

    credential: str
    person: str
    config: Path
    """The directory in which the CLI keeps it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session is opened with."""

    conversation: str
    workspace: Workspace
    session_id: str
    resume: bool
    policy: Effective
    model: str | None
    release: Release | None = None
    sign_in: OwnSignIn | None = None
    """None: it reaches the model by the broker, and sees nobody's sign-in."""
    turn: str = ""
    person: str = ""
    """For whose turn: what it does while it is opened is theirs already."""
    budgets: tuple[Budget, ...] = ()
    """What that turn may use."""


class AgentSession(Protocol):
    """One live agent. Used by one task at a time, except `interrupt` and `govern`."""

    model: str

    @property
    def memory(self) -> int | None:
        """Bytes that its processes hold for themselves, as of a moment ago; None: not known yet."""
        ...

    def charge(self, turn_id: str, person: str, budgets: tuple[Budget, ...]) -> None:
        """What is used from here on is used by this person's turn, within these budgets."""
        ...

    async def prompt(self, request: TurnRequest) -> None:
        """Hand over a prompt. `items` then tells what comes of it."""
        ...

    def items(self) -> AsyncIterator[SessionItem]:
        """What happens until `Deferred` or `Ended`, which is always the last one."""
        ...

    async def interrupt(self) -> None:
        """Stop what runs; `items` ends soon after. Harmless when nothing runs."""
        ...

    async def govern(self, policy: Effective) -> None:
        """From here on this mode and these rules hold, at once, in the middle of a turn too; where
        a call lies unresolved, once that is settled.

        Raises `SessionFailed`: a session that keeps laxer ones must not be used.
        """
        ...

    async def close(self, *, at_once: bool = False) -> None:
        """End the process and everything it started; `at_once` gives it no time to end by itself.
        Never raises; safe to call twice."""
        ...


class SessionFailed(Exception):
    """The session could not be opened. `ended` is how the turn ends for it."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.message)
        self.ended = ended


class SessionFactory(Protocol):
    async def __call__(self, opening: Opening) -> AgentSession:
        """Open a session. Raises `SessionFailed`. Cancelling it leaves no process behind."""
        ...
