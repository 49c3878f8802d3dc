"""`bascule migrate`: every database to this release's tables."""

from __future__ import annotations

from pathlib import Path

import typer

from bridge.commands import groups
from bridge.settings import BridgeSettings, SettingsInvalid, load
from bridge.store.migrate import migrate as upgrade


def migrate_bridge(home: Path) -> str:
    """Bring the bridge's tables up to date; gives one line about what was done."""
    url = BridgeSettings(bascule_home=home).database_url
    return f"bridge: {url} is at {upgrade(url)}"


def migrate() -> None:
    """Bring all databases up to date.

    `up` does so by itself at its start.
    """
    try:
        home = load().home
    except SettingsInvalid as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    failed = False
    for group in groups.load():
        if group.migrate is None:
            continue
        try:
            typer.echo(group.migrate(home))
        except Exception as error:  # noqa: BLE001 - each store has errors of its own; all are told
            remedy = getattr(error, "remedy", "")
            typer.echo(f"{group.name}: {error} {remedy}".strip(), err=True)
            failed = True
    if failed:
        raise typer.Exit(1)
