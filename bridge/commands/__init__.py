"""What the bridge adds to the `bascule` command: `up`, `demo`, `bridge`, `doctor`, `config`,
`claim`, `migrate`, `audit`; its checks, its settings, its tables."""

from __future__ import annotations

import os
import sys

import typer

from bridge.commands import audit, claim, config, demo, doctor, tables, up
from bridge.commands.checks import checks
from bridge.commands.tables import migrate_bridge as migrate
from bridge.settings import BridgeSettings as settings  # noqa: N813 - the group's own name

__all__ = ["app", "checks", "migrate", "settings"]

app = typer.Typer()
app.command("up")(up.up)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("config")(config.config)
app.command("claim")(claim.claim)
app.command("migrate")(tables.migrate)
app.add_typer(audit.app, name="audit")


@app.command("bridge")
def bridge() -> None:
    """Run the bridge alone, in the foreground, until Ctrl-C."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "bridge"])  # noqa: S606 - no shell
