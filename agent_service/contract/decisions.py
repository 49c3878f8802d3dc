"""A decision: something the agent may only do, or know, once a person has answered.

It is a row, not a waiting process. The first answer wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from agent_service.contract.turns import STRICT

DecisionKind: TypeAlias = Literal["tool", "question", "plan", "network"]
Answer: TypeAlias = Literal["allow", "deny", "answer"]
DecisionState: TypeAlias = Literal[
    "waiting", "allowed", "denied", "answered", "expired", "cancelled"
]


@dataclass(frozen=True, slots=True)
class QuestionOption:
    label: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the agent. Free text is always possible besides the options."""

    question: str
    header: str
    options: tuple[QuestionOption, ...]
    many: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person is asked.

    `shown` is the whole of what would run (the command, the diff, the plan), with control and
    bidirectional characters made visible. `claim` is the model's own description of it.
    """

    id: str
    turn_id: str
    kind: DecisionKind
    tool: str
    shown: str
    title: str = ""
    """One line: the tool and what it is about, such as `Write notes.txt`."""
    language: str = ""
    """Of `shown`, for highlighting: bash, diff, json or empty."""
    claim: str = ""
    why: str = ""
    cwd: str = ""
    questions: tuple[Question, ...] = ()
    expires_at: float = 0.0
    """Seconds since the epoch."""
    pattern: str = ""
    """The rule that the scopes `conversation` and `workspace` would store; empty: there is none."""
    pattern_words: str = ""
    """What it means, for people, such as "any command that begins with `git status`"."""
    again: bool = False
    """The call was allowed and started before; how it ended is not known."""
    needs: int = 1
    """How many different people have to allow it."""


@dataclass(frozen=True, slots=True)
class DecisionAnswer:
    """What `POST /v1/turns/{turn_id}/decisions/{id}` takes.

    `answers` maps each question to the chosen labels or free text (kind question). `scope` beyond
    `once` stores the decision's pattern as a rule. `mode` is what an approved plan goes on in.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    outcome: Answer
    decided_by: str
    reason: str = ""
    answers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    scope: Literal["once", "conversation", "workspace"] = "once"
    mode: Literal["default", "acceptEdits"] | None = None


@dataclass(frozen=True, slots=True)
class DecisionView:
    """How a decision stands, told to whoever answers it."""

    id: str
    turn_id: str
    state: DecisionState
    decided_by: str = ""
    reason: str = ""
    approvals: tuple[str, ...] = ()
    """Who allowed it so far, while it waits for another person who has to."""
