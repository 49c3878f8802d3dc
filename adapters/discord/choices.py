"""Buttons whose ids carry what they stand for, so that they hold over every restart.

Nothing is kept about a button: the bridge knows what its action means, and its form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import discord

from adapters.contract import Choice, DeliveryError

_IN_A_ROW, _MOST_ROWS = 5, 5
_MOST_OPTIONS = 25
LONGEST_LABEL = 80
_LONGEST_ID = 100
_ID = re.compile(r"([bf])(\d+):(.*)", re.DOTALL)
_STYLES = {
    "plain": discord.ButtonStyle.secondary,
    "primary": discord.ButtonStyle.primary,
    "danger": discord.ButtonStyle.danger,
}


@dataclass(frozen=True, slots=True)
class Button:
    """A button, its words and its id."""

    id: str
    label: str
    style: Literal["plain", "primary", "danger"]
    hint: str = ""


STOP = Button("stop", "Stop", "danger")
"""Under what is being worked on: the command of that name, by a click."""


@dataclass(frozen=True, slots=True)
class Menu:
    """A menu, where there are too many for buttons."""

    id: str
    options: tuple[Button, ...]


Row: TypeAlias = tuple[Button, ...] | Menu


@dataclass(frozen=True, slots=True)
class Pressed:
    """What a button's id says. With `form`, it asks for something first."""

    action: str
    form: bool


def rows(choices: Sequence[Choice], *, stop: bool = False) -> tuple[Row, ...]:
    """The choices as rows, and `STOP` after them. Raises `DeliveryError` for an action that no
    button can carry."""
    buttons = [_button(number, choice) for number, choice in enumerate(choices)]
    if stop and len(buttons) < _IN_A_ROW * _MOST_ROWS:
        buttons.append(STOP)
    if len(buttons) <= _IN_A_ROW * _MOST_ROWS:
        return tuple(
            tuple(buttons[at : at + _IN_A_ROW]) for at in range(0, len(buttons), _IN_A_ROW)
        )
    most = _MOST_OPTIONS * _MOST_ROWS
    if len(buttons) > most:
        raise DeliveryError(f"{most} choices are the most a message can have on Discord.")
    return tuple(
        Menu(f"menu:{at}", tuple(buttons[at : at + _MOST_OPTIONS]))
        for at in range(0, len(buttons), _MOST_OPTIONS)
    )


def long_labels(choices: Sequence[Choice]) -> list[str]:
    """The whole labels of those that do not fit on a button, to stand in the message."""
    return [f"-# {number}: {' '.join(choice.label.split())}"
            for number, choice in enumerate(choices, 1)
            if len(choice.label) > LONGEST_LABEL]  # fmt: skip


def view_of(made: Sequence[Row]) -> discord.ui.View:
    """For discord.py, which is told to keep nothing of it. Without rows it takes buttons away."""
    view = discord.ui.View(timeout=None)
    for number, row in enumerate(made):
        if isinstance(row, Menu):
            view.add_item(_select(row, number))
            continue
        for button in row:
            view.add_item(
                discord.ui.Button(
                    custom_id=button.id, label=button.label, style=_STYLES[button.style], row=number
                )
            )
    view.stop()
    return view


def pressed(custom_id: str) -> Pressed | None:
    """What the id of a button or of a menu's option means; None for another's."""
    found = _ID.fullmatch(custom_id)
    return None if found is None else Pressed(found[3], found[1] == "f")


def _button(number: int, choice: Choice) -> Button:
    made = f"{'f' if choice.form else 'b'}{number}:{choice.action}"
    if len(made) > _LONGEST_ID:
        raise DeliveryError("An action is longer than a button of Discord can carry.")
    label = " ".join(choice.label.split()) or _nothing(number)
    if len(label) > LONGEST_LABEL:
        lead = f"{number + 1}: "
        label = f"{lead}{label[: LONGEST_LABEL - len(lead) - 1]}…"
    return Button(made, label, choice.style, choice.hint)


def _nothing(number: int) -> str:
    return str(number + 1)


def _select(row: Menu, number: int) -> discord.ui.Select[discord.ui.View]:
    options = [
        discord.SelectOption(label=b.label, value=b.id, description=b.hint[:100] or None)
        for b in row.options
    ]
    return discord.ui.Select(custom_id=row.id, placeholder="Choose …", options=options, row=number)
