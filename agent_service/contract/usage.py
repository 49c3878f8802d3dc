"""What the model was used for, as the broker counted it from the answers that passed."""

from __future__ import annotations

from dataclasses import dataclass


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
class TurnUsage:
    """What one turn has used so far."""

    turn_id: str
    answers: int
    input_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    output_tokens: int
    cost_usd: float
