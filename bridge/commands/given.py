"""What the environment and `.env` say, looked at for all groups at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from bridge import plugins
from bridge.commands import groups
from bridge.commands.groups import Group
from bridge.settings import (
    BridgeSettings,
    HomeSettings,
    SettingsInvalid,
    misspelt,
    names_given,
    wrong,
)

_EVERYBODYS = "LOG_"
"""Too many programs have variables of this prefix: one that is almost ours may be theirs."""


@dataclass(frozen=True, slots=True)
class Given:
    """`problems` has a line for each mistake; `made` the settings by group where they are right;
    `home` is None where it cannot be told."""

    groups: list[Group]
    problems: tuple[str, ...]
    made: Mapping[str, BaseSettings] = field(default_factory=dict)
    home: Path | None = None


def look() -> Given:
    """Everything, with all mistakes. Changes nothing."""
    found = groups.load()
    try:
        names = names_given()
    except SettingsInvalid as error:
        return Given(found, (str(error),))
    problems: list[str] = []
    made: dict[str, BaseSettings] = {}
    for group in found:
        if group.settings is None:
            continue
        try:
            made[group.name] = group.settings()
        except ValidationError as error:
            problems += wrong(error)
    try:
        home = HomeSettings().home
    except ValidationError:
        home = None  # the bridge's own settings said why
    known = set(_names(found))
    prefixes = {f"{name.partition('_')[0]}_" for name in known} - {_EVERYBODYS}
    problems += misspelt(names, known, tuple(prefixes))
    return Given(found, tuple(dict.fromkeys(problems)), made, home)


def settings() -> tuple[BridgeSettings, list[Group]]:
    """The bridge's settings and every group. Raises `SettingsInvalid` with all mistakes, those of
    the other groups too."""
    given = look()
    if given.problems:
        raise SettingsInvalid("\n".join(given.problems))
    return BridgeSettings(), given.groups


def pages() -> bool:
    """Whether the web admin is to run: its settings are its own, all but that."""
    made = look().made.get("admin")
    return made is not None and getattr(made, "admin_listen", "off") != "off"


def _names(found: list[Group]) -> Iterator[str]:
    """The names of all settings there are."""
    for group in found:
        if group.settings is not None:
            yield from (name.upper() for name in group.settings.model_fields)
    for plugin in plugins.loadable():
        yield from (field.name.upper() for field in plugin.settings.fields)
