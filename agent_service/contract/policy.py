"""What an agent may do unasked: permission modes, rules, and who may decide.

Each holds for the deployment, a workspace or a conversation. The nearest mode wins, never above the
deployment's ceiling; rules of all three add up; deny holds in every mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from agent_service.contract.turns import STRICT, Mode

PolicyScope: TypeAlias = Literal["deployment", "workspace", "conversation"]
Behavior: TypeAlias = Literal["allow", "ask", "deny", "two_people"]
Ceiling: TypeAlias = Literal["default", "acceptEdits", "bypassPermissions"]

RULE_LIMIT = 500
"""Characters of one rule."""
RULES_LIMIT = 200
"""Rules of one deployment, workspace or conversation."""
DECIDERS_LIMIT = 100

MODES: tuple[Mode, ...] = ("plan", "dontAsk", "default", "acceptEdits", "bypassPermissions")
"""From the strictest to the one that asks nothing."""

MODE_WORDS: dict[Mode, str] = {
    "plan": "looks and plans; changes nothing until its plan is approved",
    "dontAsk": "does what is allowed by itself; whatever would ask is refused",
    "default": "asks before it changes files or runs commands",
    "acceptEdits": "changes files of the workspace unasked; asks before other commands",
    "bypassPermissions": "asks nothing but questions of its own; the sandbox is the only limit",
}
"""What each mode means, in words for people."""


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule in the CLI's own syntax, such as `Bash(git status *)`, with who added it and when."""

    behavior: Behavior
    pattern: str
    added_by: str
    added_at: float


@dataclass(frozen=True, slots=True)
class PolicyView:
    """What was set for one deployment, workspace or conversation; `mode` None: nothing."""

    scope: PolicyScope
    subject: str
    mode: Mode | None
    rules: tuple[PolicyRule, ...]
    ceiling: Ceiling | None = None
    """Of a deployment: the mode above which none is."""
    deciders: tuple[str, ...] = ()
    """Of a workspace: the people whose answer counts."""


@dataclass(frozen=True, slots=True)
class SetMode:
    """None takes back what was set here."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    mode: Mode | None
    by: str


@dataclass(frozen=True, slots=True)
class SetCeiling:
    """Never above AGENT_MODE_CEILING; None goes back to that."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    ceiling: Ceiling | None
    by: str


@dataclass(frozen=True, slots=True)
class ChangeRule:
    """A rule to add or to take back. `two_people`, which an admin lists for the deployment, means
    that two different people have to allow such a call."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    behavior: Behavior
    pattern: str
    by: str


@dataclass(frozen=True, slots=True)
class SetDeciders:
    """The people whose answers count in a workspace, all of them. Empty means nobody."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    people: tuple[str, ...]
    by: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that was not taken because of who gave it: an account that is no person, say."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    who: str
    why: str
