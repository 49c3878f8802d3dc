"""What holds for one session right now: a mode, and rules, from all that was set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_service.contract.policy import MODES, Ceiling
from agent_service.contract.turns import Mode
from agent_service.policy.rules import Rule, parse

_RANK = {mode: rank for rank, mode in enumerate(MODES)}


def within(mode: Mode, ceiling: Mode) -> bool:
    """Whether a mode is not laxer than the ceiling."""
    return _RANK[mode] <= _RANK[ceiling]


def lowered(mode: Mode, ceiling: Mode) -> Mode:
    """The mode, or the ceiling where that is stricter."""
    return mode if within(mode, ceiling) else ceiling


@dataclass(frozen=True, slots=True)
class Effective:
    """A mode and rules in the CLI's syntax; deny comes before ask, ask before allow."""

    mode: Mode = "default"
    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    number: int = field(default=0, compare=False)
    """Of the newest change that is in it."""

    def touched(self, behavior: str, tool: str, given: dict[str, Any], workdir: Path) -> str:
        """The first rule of this behaviour that seems to mean the call: all of it to `allow`, any
        part to `deny`, and to `ask` also what only may be it."""
        for text in getattr(self, behavior):
            rule: Rule = parse(text)
            fits = {"allow": rule.covers, "ask": rule.may_mean}.get(behavior, rule.touches)
            if fits(tool, given, workdir):
                return str(text)
        return ""


@dataclass(frozen=True, slots=True)
class Layer:
    """What was set in one place."""

    mode: Mode | None = None
    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


def effective(
    deployment: Layer,
    workspace: Layer,
    conversation: Layer,
    *,
    requested: Mode | None,
    default: Mode,
    ceiling: Ceiling,
    may_decide: bool,
) -> Effective:
    """The nearest mode wins, under the ceiling; rules add up. Who may not decide gets at most
    mode `default`, and no rule to allow but the deployment's."""
    wanted = requested or conversation.mode or workspace.mode or deployment.mode or default
    mode = lowered(wanted, ceiling)
    layers = (deployment, workspace, conversation)
    if not may_decide:
        mode = lowered(mode, "default")
    allowing = layers if may_decide else (deployment,)
    return Effective(
        mode,
        tuple(dict.fromkeys(rule for layer in allowing for rule in layer.allow)),
        tuple(dict.fromkeys(rule for layer in layers for rule in layer.ask)),
        tuple(dict.fromkeys(rule for layer in layers for rule in layer.deny)),
    )
