"""`bascule config`: the settings in force, secrets masked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from agent_service.contract import redaction
from bridge import plugins
from bridge.commands import given
from bridge.commands.tell import tell
from bridge.settings import SettingsInvalid

MASK = "•" * 6
_INTRODUCTION = (
    "Written by `bascule config --markdown`. Each is an environment variable, or a line in the "
    "file `.env` of the folder that `bascule` is started in; the environment wins. "
    "`bascule config` shows what is in force."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One setting. `value` is masked where it is a secret; `chosen` says it is not the default."""

    group: str
    name: str
    value: str
    default: str
    chosen: bool
    help: str


def rows() -> list[Row]:
    """Every setting of every group and every installed adapter. Raises `SettingsInvalid`."""
    looked = given.look()
    if looked.problems:
        raise SettingsInvalid("\n".join(looked.problems))
    found: dict[str, Row] = {}
    for name, made in looked.made.items():
        for row in _of(name, made):
            found.setdefault(row.name, row)
    return [*found.values(), *_of_adapters()]


def _of(group: str, made: BaseSettings) -> Iterator[Row]:
    for name, field in type(made).model_fields.items():
        value = getattr(made, name)
        yield Row(
            group,
            name.upper(),
            _shown(value),
            _shown(field.default),
            name in made.model_fields_set,
            field.description or "",
        )


def _of_adapters() -> Iterator[Row]:
    for plugin in plugins.loadable():
        values = plugins.values_of(plugin)
        for field in plugin.settings.fields:
            value = values[field.name]
            shown = MASK if field.secret and value else value
            chosen = value != field.default
            yield Row(plugin.name, field.name, shown, field.default, chosen, field.help)


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    return "" if value is None else redaction.hide_text(str(value))


def markdown(found: list[Row]) -> str:
    """The settings as the page `docs/settings.md`, with defaults instead of values."""
    lines = ["# Settings", _INTRODUCTION]
    last = ""
    for row in found:
        if row.group != last:
            lines += ["", f"## {row.group}", "| name | default | meaning |", "|---|---|---|"]
            last = row.group
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.name}` | {default} | {row.help.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def config(
    as_markdown: bool = typer.Option(
        False, "--markdown", help="All settings with their defaults, as the page docs/settings.md."
    ),
) -> None:
    """Show the settings in force.

    Secrets are masked; * marks what was chosen, everything else has its default.
    """
    try:
        found = rows()
    except SettingsInvalid as error:
        tell(error, err=True)
        raise typer.Exit(2) from None
    if as_markdown:
        typer.echo(markdown(found), nl=False)
        return
    width = max(len(row.name) for row in found)
    last = ""
    for row in found:
        if row.group != last:
            typer.echo(f"{'' if not last else chr(10)}{row.group}")
            last = row.group
        typer.echo(f"  {'*' if row.chosen else ' '} {row.name:<{width}}  {row.value or '-'}")
