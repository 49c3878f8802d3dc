"""`bascule migrate`: every database to this release's tables."""

from __future__ import annotations

from pathlib import Path

import typer
from pydantic import ValidationError

from bridge.commands import given
from bridge.commands.tell import tell
from bridge.settings import BridgeSettings, SettingsInvalid, wrong
from bridge.store.dialects import database_at
from bridge.store.migrate import migrate as upgrade


def migrate_bridge(home: Path) -> str:
    """Bring the bridge's tables up to date; gives one line about what was done."""
    url = BridgeSettings(bascule_home=home).database_url
    return f"bridge: {database_at(url).name} is at {upgrade(url)}"


def migrate() -> None:
    """Bring all databases up to date.

    `up` does so by itself at its start.
    """
    try:
        settings, groups = given.settings()
    except SettingsInvalid as error:
        tell(error, err=True)
        raise typer.Exit(2) from None
    failed = False
    for group in groups:
        if group.migrate is None:
            continue
        try:
            tell(group.migrate(settings.home))
        except ValidationError as error:  # as words it would say what was given
            tell(f"{group.name}: {'; '.join(wrong(error))}", err=True)
            failed = True
        except Exception as error:  # noqa: BLE001 - each store has errors of its own; all are told
            remedy = getattr(error, "remedy", "")
            tell(f"{group.name}: {error} {remedy}".strip(), err=True)
            failed = True
    if failed:
        raise typer.Exit(1)
