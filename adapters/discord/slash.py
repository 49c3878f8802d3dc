"""The slash command `/bascule` and the menu "Ask Bascule about this", as Discord registers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.contract import CommandView

NAME = "bascule"
MENU = "Ask Bascule about this"
MORE = "more"
"""Holds what does not fit among the subcommands."""
WORDS, PERSON, COMMAND = "words", "person", "command"
_MOST = 25
_DESCRIPTION = 100
_SUBCOMMAND, _STRING, _USER = 1, 3, 6
_SERVERS: Mapping[str, list[int]] = {"integration_types": [0], "contexts": [0, 1]}
_EVERYWHERE: Mapping[str, list[int]] = {"integration_types": [0, 1], "contexts": [0, 1, 2]}
CLAIM = CommandView("claim", "become the operator, with the code from the terminal")
"""For the first person, whom nobody let in yet; no list of the bridge's has it."""


@dataclass(frozen=True, slots=True)
class Given:
    """A slash command as it was used. `typed` is what stands in the option being written."""

    name: str
    rest: str
    typed: str = ""


def payload(views: Sequence[CommandView], *, brought: bool = True) -> list[dict[str, Any]]:
    """What is registered: the same for everybody, the bridge refuses what somebody may not do.
    `brought` says whether people may bring the bot along by themselves."""
    where = _EVERYWHERE if brought else _SERVERS
    wanted = [CLAIM, *(view for view in views if view.name != CLAIM.name)]
    shown = wanted if len(wanted) <= _MOST else wanted[: _MOST - 1]
    options = [_subcommand(view) for view in shown]
    if len(wanted) > _MOST:
        options.append(
            {
                "type": _SUBCOMMAND,
                "name": MORE,
                "description": "every other command",
                "options": [
                    {"type": _STRING, "name": COMMAND, "description": "which one",
                     "required": True, "autocomplete": True},
                    _words(),
                ],
            }
        )  # fmt: skip
    return [
        {"type": 1, "name": NAME, "description": "Talk to Bascule itself", "options": options,
         **where},
        {"type": 3, "name": MENU, **where},
    ]  # fmt: skip


def _subcommand(view: CommandView) -> dict[str, Any]:
    person = {"type": _USER, "name": PERSON, "description": "whom it is about", "required": False}
    return {
        "type": _SUBCOMMAND,
        "name": view.name,
        "description": _short(view.help.replace("`", "")) or view.name,
        "options": [_words(), *([person] if view.people else [])],
    }


def _words() -> dict[str, Any]:
    return {"type": _STRING, "name": WORDS, "description": "what follows it, as in !command words",
            "required": False, "autocomplete": True}  # fmt: skip


def read(data: Mapping[str, Any]) -> Given | None:
    """What was used; None for a command that is not ours."""
    options = data.get("options") or []
    if data.get("name") != NAME or not options:
        return None
    sub = options[0]
    given = {str(one["name"]): str(one.get("value", "")) for one in sub.get("options") or []}
    focused = next((str(one["name"]) for one in sub.get("options") or [] if one.get("focused")), "")
    name = str(sub["name"])
    if name == MORE:
        if focused == COMMAND:
            return Given(MORE, "", given.get(COMMAND, ""))
        name = given.get(COMMAND, "").strip().lower()
    rest = given.get(WORDS, "").strip()
    if person := given.get(PERSON):
        # `role @ann admin`: who it is about stands after the first word.
        first, *others = rest.split(" ", 1) if rest else [""]
        rest = " ".join(part for part in (first, f"<@{person}>", *others) if part)
    return Given(name, rest, given.get(WORDS, "") if focused == WORDS else "")


def _short(text: str) -> str:
    return text if len(text) <= _DESCRIPTION else text[: _DESCRIPTION - 1] + "…"
