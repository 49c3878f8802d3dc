"""`bascule doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import typer
from pydantic import ValidationError

from bridge.commands import given
from bridge.commands.groups import CheckLine, Group, Line
from bridge.commands.tell import tell
from bridge.settings import wrong

MARKS = {"ok": "✓", "warning": "!", "failed": "✗"}


def doctor() -> None:
    """Check everything and say what to do. Changes nothing.

    Exits with 1 when something is broken, with 2 when a setting is wrong.
    """
    looked = given.look()
    for problem in looked.problems:
        tell(f"{MARKS['failed']} {problem}")
    failed = False
    for group in looked.groups:
        if group.settings is not None and group.name not in looked.made:
            continue  # what is wrong with its settings was said; its checks need them
        for line in _lines(group, looked.home):
            failed |= line.state == "failed"
            detail = f": {line.detail}" if line.detail else ""
            tell(f"{MARKS.get(line.state, '?')} {line.title}{detail}")
            if line.remedy and line.state != "ok":
                tell(f"    {line.remedy}")
    if looked.problems:
        raise typer.Exit(2)
    if failed:
        raise typer.Exit(1)


def _lines(group: Group, home: Path | None) -> list[Line]:
    if group.problem:
        return [
            CheckLine(
                f"Commands of {group.name}", "failed", group.problem, "Reinstall its package."
            )
        ]
    if group.checks is None or home is None:
        return []
    title = f"Checks of {group.name}"
    try:
        return list(group.checks(home))
    except ValidationError as error:  # as words it would say what was given
        return [CheckLine(title, "failed", "; ".join(wrong(error)))]
    except Exception as error:  # noqa: BLE001 - a broken check must not hide the others
        return [CheckLine(title, "failed", f"{type(error).__name__}: {error}")]
