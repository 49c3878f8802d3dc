"""Amounts of budgets, as people write and read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

What: TypeAlias = Literal["usd", "turns"]
Amount: TypeAlias = float | Literal["unlimited", "default"]
"""`default` is what the deployment's settings say."""

_WORDS: dict[str, Amount] = {"unlimited": "unlimited", "default": "default"}
MOST: dict[What, float] = {"usd": 1_000_000.0, "turns": 100_000.0}
HELP = "Write amounts like `5 USD`, `50 turns`, `unlimited turns` or `default`; 0 allows nothing."
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,4})?"
_PART = re.compile(
    rf"\s*(?:\$\s?(?P<dollars>{_NUMBER})|(?P<amount>{_NUMBER}|unlimited|default)"
    r"\s*(?P<unit>usd|\$|dollars?|turns?))\s*(?:(?:,|\band\b)(?=\s*\S)|(?=\s|$))",
    re.ASCII | re.IGNORECASE,
)


class AmountInvalid(Exception):
    """`str(error)` says in words for its writer what is wrong."""


def parse(text: str) -> dict[What, Amount]:
    """Such as `5 USD 50 turns`; of each kind at most one, and at least one of any. `unlimited` or
    `default` by itself is both. Raises `AmountInvalid`, and nothing else."""
    alone = text.strip().lower()
    if (both := _WORDS.get(alone)) is not None:
        return {"usd": both, "turns": both}
    found: dict[What, Amount] = {}
    place = 0
    while text[place:].strip() or not found:
        part = _PART.match(text, place)
        if part is None:
            raise AmountInvalid(HELP)
        what: What = "turns" if (part["unit"] or "").lower().startswith("turn") else "usd"
        if what in found:
            raise AmountInvalid(f"That names two amounts of the same. {HELP}")
        found[what] = _amount(what, (part["dollars"] or part["amount"]).lower())
        place = part.end()
    return found


def _amount(what: What, text: str) -> Amount:
    if (word := _WORDS.get(text)) is not None:
        return word
    value = float(text)
    if value > MOST[what]:
        raise AmountInvalid(f"That is more than {MOST[what]:,.0f}: write `unlimited` instead.")
    if what == "turns" and value != int(value):
        raise AmountInvalid("Turns are whole: `50 turns`.")
    return value


def written(amounts: Mapping[What, Amount]) -> str:
    """As `parse` reads it."""
    units = {"usd": "USD", "turns": "turns"}
    return " ".join(
        f"{amount if isinstance(amount, str) else f'{amount:.4f}'.rstrip('0').rstrip('.')} "
        f"{units[what]}"
        for what, amount in amounts.items()
    )


def money(usd: float) -> str:
    """Such as `$1,234.50`; what is less than a cent is said to be."""
    if 0 < usd < 0.01:
        return "less than $0.01"
    return f"${usd:,.2f}"


def many(count: float) -> str:
    """Such as `950`, `12 k` or `1.2 M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            digits = 1 if count < 10 * size else 0
            return f"{count / size:.{digits}f} {unit}"
    return f"{count:.0f}"


def share(used: float, most: float) -> str:
    """Such as `24 %`, rounded down: 100 % is only said of what is used up."""
    return f"{int(100 * used / most) if most else 100} %"
