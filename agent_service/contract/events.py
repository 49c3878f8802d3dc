"""What happens in a turn, numbered from 1, in order.

`text.delta` numbers are kept in memory only: after a restart of the service numbers may be
missing, but none is ever used twice. `text` carries a whole block of the answer and replaces the
deltas since the block before. Everything but deltas survives restarts.

A stream ends with `turn.waiting` or `turn.finished`. What happens to a waiting turn afterwards is
in the feed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from agent_service.contract.budgets import Whose
from agent_service.contract.decisions import Decision, DecisionState, Question, QuestionOption
from agent_service.contract.turns import Outcome


@dataclass(frozen=True, slots=True)
class TurnStarted:
    kind: ClassVar[str] = "turn.started"
    model: str
    resumed: bool
    """The session was brought back from disk for this turn."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    kind: ClassVar[str] = "text.delta"
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A finished block of the answer, whole."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """`title` is one line for people, such as `Bash: ls -l`; control characters made visible."""

    kind: ClassVar[str] = "tool.started"
    id: str
    tool: str
    title: str
    parent: str = ""
    """The tool call of the subagent this one belongs to."""


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """`summary` is the beginning of the result, at most 500 characters."""

    kind: ClassVar[str] = "tool.finished"
    id: str
    ok: bool
    summary: str


@dataclass(frozen=True, slots=True)
class DecisionRequested:
    kind: ClassVar[str] = "decision.requested"
    decision: Decision


@dataclass(frozen=True, slots=True)
class DecisionApproved:
    """One of the people who have to allow it did; `missing` others have to, still."""

    kind: ClassVar[str] = "decision.approved"
    id: str
    by: str
    missing: int


@dataclass(frozen=True, slots=True)
class DecisionResolved:
    kind: ClassVar[str] = "decision.resolved"
    id: str
    state: DecisionState
    decided_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FileReady:
    """The agent wants the person to have a file. `path` is one of the workspace."""

    kind: ClassVar[str] = "file.ready"
    path: str
    name: str
    size: int
    caption: str = ""
    """The agent's words about it, on one line."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and US dollars since the turn's last `usage`: add them up. The tokens are the CLI's
    count of its main work, the money is the broker's of every answer (`GET …/usage` has both)."""

    kind: ClassVar[str] = "usage"
    input_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class BudgetUsed:
    """At the end of a turn: so much of a budget of its request is used in the present period, at
    least `WARN_SHARE` of it. Every turn says so from there on."""

    kind: ClassVar[str] = "budget.used"
    whose: Whose
    used_usd: float
    usd: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the person should know while the turn goes on, such as a retry."""

    kind: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True, slots=True)
class EgressRefused:
    """The agent tried to reach a host that it may not; told once a host, as far as one process
    goes. `host` is a name or an address in plain ASCII; `reason` is `not_listed` or `not_public`
    (see `REFUSALS` in egress.py)."""

    kind: ClassVar[str] = "egress.refused"
    host: str
    port: int
    reason: str


@dataclass(frozen=True, slots=True)
class TurnWaiting:
    kind: ClassVar[str] = "turn.waiting"
    decision: str


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """`reason` is a word for programs (see `REASONS`), `message` and `remedy` are for people."""

    kind: ClassVar[str] = "turn.finished"
    outcome: Outcome
    reason: str = ""
    message: str = ""
    remedy: str = ""


REASONS: dict[str, str] = {
    "interrupted": "the service stopped while the turn ran; it is never rerun by itself",
    "stopped": "somebody stopped it",
    "time_limit": "it ran longer than its limit",
    "step_limit": "it took more steps than its limit",
    "agent_crashed": "the agent's process ended in the middle",
    "over_limit": "it took more memory, disk or processes than a session may",
    "revoked": "the credential or the session was revoked",
    "budget": "the budget of the session is used up",
    "person_budget": "the asker's budget of the period is used up",
    "deployment_budget": "the deployment's budget of the period is used up",
    "agent_failed": "the agent ended with an error of its own",
    "start_failed": "the agent's process could not be started",
    "model_unreachable": "no connection to the model, or it was lost",
    "model_overloaded": "the model answered that it is overloaded or over its rate limit",
    "model_error": "the model answered with an error",
    "authentication": "the model refused the credential",
    "sign_in_refused": "the model refused the person's own sign-in",
    "storage_full": "there is no room on the disk",
    "expired": "nobody answered in time",
}
"""Every `TurnFinished.reason`, with what it means."""

Event: TypeAlias = (
    TurnStarted
    | TextDelta
    | Text
    | ToolStarted
    | ToolFinished
    | DecisionRequested
    | DecisionApproved
    | DecisionResolved
    | FileReady
    | Usage
    | BudgetUsed
    | Notice
    | EgressRefused
    | TurnWaiting
    | TurnFinished
)

EVENTS: tuple[type[Event], ...] = (
    TurnStarted,
    TextDelta,
    Text,
    ToolStarted,
    ToolFinished,
    DecisionRequested,
    DecisionApproved,
    DecisionResolved,
    FileReady,
    Usage,
    BudgetUsed,
    Notice,
    EgressRefused,
    TurnWaiting,
    TurnFinished,
)
_BY_KIND: dict[str, type[Event]] = {event.kind: event for event in EVENTS}


def to_json(event: Event) -> dict[str, Any]:
    """The event as JSON values, with its `kind`."""
    return {"kind": event.kind, **asdict(event)}


def from_json(data: dict[str, Any]) -> Event | None:
    """The event again. None for a kind or a field this version does not know: skip it."""
    fields = dict(data)
    made = _BY_KIND.get(str(fields.pop("kind", "")))
    if made is None:
        return None
    try:
        if made is DecisionRequested:
            return DecisionRequested(decision_from_json(fields["decision"]))
        return made(**fields)
    except (TypeError, KeyError):
        return None


def decision_from_json(data: dict[str, Any]) -> Decision:
    """The decision again, from what `dataclasses.asdict` made of it. Raises TypeError, KeyError."""
    questions = tuple(
        Question(
            question=q["question"],
            header=q["header"],
            options=tuple(QuestionOption(**o) for o in q["options"]),
            many=q["many"],
        )
        for q in data["questions"]
    )
    return Decision(**{**data, "questions": questions})


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    """An event with its number in the turn."""

    seq: int
    event: Event


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One line of the feed: the turn changed state. Numbers grow over all turns, and none is used
    twice.

    With `decision` its state is as it was: that decision was settled while nobody read the turn.
    """

    seq: int
    turn_id: str
    conversation: str
    state: Literal["running", "waiting", "finished"]
    decision: str = ""


@dataclass(frozen=True, slots=True)
class FeedPlace:
    """How far the feed has come. A reader that is further has read another service's feed."""

    seq: int
