"""What a button of a decision says, as the agent service wants to hear it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from agent_service.contract import DecisionAnswer

_SCOPES: dict[str, Literal["conversation", "workspace"]] = {
    "conversation": "conversation",
    "workspace": "workspace",
}
OTHER = ".other"
"""A form's field `q0.other` holds free text besides the menu `q0`."""


def answer_of(
    verb: str,
    values: Sequence[tuple[str, Sequence[str]]],
    shown: Mapping[str, Any],
    decided_by: str,
) -> DecisionAnswer | None:
    """The answer, or None when the button is none of ours or its form brought nothing.

    `allow`, once or as a pattern (`allow.conversation`, `allow.workspace`), or a plan with its
    edits (`allow.edits`); `deny` (a field `reason` says why); `answer` with the fields `q0`, `q1`,
    … of a form, one a question; `answer.<q>.<o>` for option o of question q as a button of its own.
    """
    given = {name: [text for text in texts if text.strip()] for name, texts in values}
    name, _, place = verb.partition(".")
    reason = " ".join(given.get("reason", []))
    if name == "allow" and not place:
        return DecisionAnswer("allow", decided_by, reason)
    if name == "allow" and place in _SCOPES:
        return DecisionAnswer("allow", decided_by, reason, scope=_SCOPES[place])
    if name == "allow" and place == "edits":
        return DecisionAnswer("allow", decided_by, reason, mode="acceptEdits")
    if name == "deny" and not place:
        return DecisionAnswer("deny", decided_by, reason)
    if name != "answer":
        return None
    questions = shown.get("questions", [])
    answers = _button(place, questions) if place else _form(given, questions)
    return DecisionAnswer("answer", decided_by, reason, answers) if answers else None


def _button(place: str, questions: Sequence[Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    question, _, option = place.partition(".")
    try:
        asked = questions[_index(question)]
        return ((asked["question"], (asked["options"][_index(option)]["label"],)),)
    except (IndexError, ValueError):
        return ()


def _form(
    given: Mapping[str, Sequence[str]], questions: Sequence[Any]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    answers = []
    for number, asked in enumerate(questions):
        field = f"q{number}"
        texts = (*given.get(field, ()), *given.get(field + OTHER, ()))
        if texts:
            answers.append((asked["question"], tuple(texts)))
    return tuple(answers)


def _index(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)
