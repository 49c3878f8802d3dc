"""`bascule doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

import typer

from bridge.commands import groups
from bridge.commands.groups import CheckLine, Group, Line
from bridge.settings import SettingsInvalid, load

MARKS = {"ok": "✓", "warning": "!", "failed": "✗"}


def doctor() -> None:
    """Check everything and say what to do. Exits with 1 when something is broken."""
    try:
        home = load().home
    except SettingsInvalid as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    failed = False
    for group in groups.load():
        for line in _lines(group, home):
            failed |= line.state == "failed"
            detail = f": {line.detail}" if line.detail else ""
            typer.echo(f"{MARKS.get(line.state, '?')} {line.title}{detail}")
            if line.remedy and line.state != "ok":
                typer.echo(f"    {line.remedy}")
    if failed:
        raise typer.Exit(1)


def _lines(group: Group, home: object) -> list[Line]:
    if group.problem:
        return [
            CheckLine(
                f"Commands of {group.name}", "failed", group.problem, "Reinstall its package."
            )
        ]
    if group.checks is None:
        return []
    try:
        return list(group.checks(home))  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - a broken check must not hide the others
        why = f"{type(error).__name__}: {error}"
        return [CheckLine(f"Checks of {group.name}", "failed", why)]
