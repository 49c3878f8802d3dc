"""A choice's form, asked one field after another."""

from __future__ import annotations

import re

from adapters.contract import Choice, Field


class Form:
    """`question` says what to ask now; `give` takes the answer to it."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self._given: list[tuple[str, tuple[str, ...]]] = []

    @property
    def field(self) -> Field | None:
        """The field that is asked for; None when all were."""
        done = len(self._given)
        return self.choice.form[done] if done < len(self.choice.form) else None

    def question(self) -> list[str]:
        """Lines to show: the label, the numbered options, how to answer."""
        field = self.field
        if field is None:
            return []
        lines = [field.label]
        lines += [f"  {number}  {label}" for number, (_, label) in enumerate(field.options, 1)]
        return [*lines, f"({self._how(field)})"]

    def give(self, text: str) -> str:
        """Take the answer to this field; returns what is wrong with it, or nothing."""
        field = self.field
        if field is None:
            return ""
        text = text.strip()
        if not text:
            if field.required:
                return "An answer is needed here; Esc leaves the form."
            self._given.append((field.name, ()))
            return ""
        if not field.options:
            self._given.append((field.name, (text,)))
            return ""
        found = _chosen(field, text)
        if found is None:
            return f"Please answer with {'numbers' if field.many else 'one number'} of the list."
        self._given.append((field.name, found))
        return ""

    def values(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What was given; fields that were left empty are not in it."""
        return tuple((name, texts) for name, texts in self._given if texts)

    def _how(self, field: Field) -> str:
        if not field.options:
            how = field.placeholder or "write it, then Enter"
        elif field.many:
            how = "numbers, such as 1 3, then Enter"
        else:
            how = "a number, then Enter"
        return how if field.required else f"{how}; Enter alone leaves it out"


def _chosen(field: Field, text: str) -> tuple[str, ...] | None:
    """The values meant by numbers or labels; None where one means nothing."""
    by_label = {label.casefold(): value for value, label in field.options}
    if text.casefold() in by_label:
        return (by_label[text.casefold()],)
    parts = [part for part in re.split(r"[\s,;]+", text) if part]
    if not all(part.isdecimal() and 0 < int(part) <= len(field.options) for part in parts):
        return None
    if not field.many and len(parts) != 1:
        return None
    return tuple(dict.fromkeys(field.options[int(part) - 1][0] for part in parts))
