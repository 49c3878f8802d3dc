"""`bascule audit`: the logs of what operators may have to account for, one a folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from bridge.commands import given
from bridge.commands.groups import Group
from bridge.commands.tell import tell
from bridge.settings import SettingsInvalid

app = typer.Typer(help="The logs of what operators may have to account for.")


@app.command("verify")
def verify() -> None:
    """Check that no entry of any audit log was changed, removed or moved.

    Keep the newest hashes that it prints elsewhere: a later check can then be compared with them.
    Exit code 1 where one is not whole, 2 where one cannot be read, or there is none.
    """
    home, groups = _groups()
    codes = [code for group in groups if (code := _verified(group, home)) is not None]
    if not codes:
        _none(home)
    if code := max(codes):
        raise typer.Exit(code)


def _verified(group: Group, home: Path) -> int | None:
    """The exit code for this log; None where there is none."""
    name = group.title
    try:
        found = group.audit_verdict(home) if group.audit_verdict is not None else None
    except Exception as error:  # noqa: BLE001 - each store has errors of its own; all are told
        tell(f"{name}: {error} {getattr(error, 'remedy', '')}".strip(), err=True)
        return 2
    if found is None:
        return None
    path, verdict = found
    if verdict.problem:
        tell(
            f"{name}: {path} is not whole. {verdict.problem} "
            f"The {verdict.entries} entries before it are as they were written.",
            err=True,
        )
        return 1
    tell(f"{name}: {verdict.entries} entries, whole; newest hash {verdict.head}")
    return 0


@app.command("export")
def export() -> None:
    """Print all audit logs as JSON lines, each oldest first.

    Each line has its log and its hash, so that whoever keeps them can check the chains later.
    """
    home, groups = _groups()
    none = True
    for group in groups:
        if group.audit_entries is None:
            continue
        try:
            for entry in group.audit_entries(home):
                none = False
                line = {"log": group.title, **asdict(entry)}
                typer.echo(json.dumps(line, ensure_ascii=True))
        except Exception as error:  # noqa: BLE001 - each store has errors of its own
            tell(f"{group.title}: {error} {getattr(error, 'remedy', '')}".strip(), err=True)
            raise typer.Exit(2) from None
    if none:
        _none(home)


def _groups() -> tuple[Path, list[Group]]:
    try:
        settings, groups = given.settings()
    except SettingsInvalid as error:
        tell(error, err=True)
        raise typer.Exit(2) from None
    return settings.home, groups


def _none(home: Path) -> None:
    tell(f"There is no log in {home}. Set BASCULE_HOME, or start Bascule once.", err=True)
    raise typer.Exit(2)
