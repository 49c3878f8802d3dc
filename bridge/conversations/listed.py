"""Rules as they stand in a list that somebody reads, each with a short id to name it by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

SHORTEST_ID = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """One that stands in a list. `place` is the path of what it holds for."""

    place: str
    scope: str
    behavior: str
    pattern: str

    @property
    def id(self) -> str:
        """Of what it says and where, so that it means this very rule however lists change."""
        said = json.dumps([self.place, self.behavior, self.pattern])
        return hashlib.sha256(said.encode()).hexdigest()


def by_short_id(rules: list[Rule]) -> dict[str, Rule]:
    """By ids that are as short as they can be told apart."""
    length = SHORTEST_ID
    while len({rule.id[:length] for rule in rules}) < len(rules):
        length += 1
    return {rule.id[:length]: rule for rule in rules}


def chosen(rules: list[Rule], word: str, command: str) -> Rule | str:
    """The rule that a person means, or what to tell them."""
    given = word.strip("`").lower()
    found = [rule for rule in rules if rule.id.startswith(given)]
    if len(given) < SHORTEST_ID or not found:
        return f"There is no rule {code(word[:80])}; `{command}` lists them, each with its id."
    if len(found) > 1:
        return f"There are several whose id begins with {code(given)}; `{command}` lists them."
    return found[0]


def code(text: str) -> str:
    """Somebody's text as code, which it cannot leave."""
    return f"`{text.replace('`', 'ˋ')}`"
