"""What the model was used for, as the broker counted it from the answers that passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

UsageBy: TypeAlias = Literal["person", "model"]


@dataclass(frozen=True, slots=True)
class UsageLine:
    """Sums of one person's answers of one model on one day (UTC, `2026-11-24`).

    `input_tokens` counts neither what was written to a cache nor what was read from one.
    """

    day: str
    person: str
    model: str
    answers: int
    input_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class UsageSum:
    """What was used since some moment, by a person or of a model: `name` is which. `cost_usd` is
    what the deployment pays, `own_usd` what people's own sign-ins paid for, as a key would have
    cost. A turn that used several models is one of each."""

    name: str
    turns: int
    answers: int
    input_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    output_tokens: int
    cost_usd: float
    own_usd: float


@dataclass(frozen=True, slots=True)
class TurnUsage:
    """What one turn has used so far."""

    turn_id: str
    answers: int
    input_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    output_tokens: int
    cost_usd: float
