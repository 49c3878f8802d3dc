"""`bascule claim`: the code by which the first operator claims the deployment."""

from __future__ import annotations

import typer

from bridge.commands import given
from bridge.commands.tell import tell
from bridge.people import claim as codes
from bridge.settings import SettingsInvalid

HOW = (
    "Write this to the bot in a direct message, or give the code to its pages, within a day. "
    "Whoever does so first runs this Bascule, so show it to nobody:"
)
NONE = (
    "There is no claim code. Either somebody runs this Bascule already, and lets others in with "
    "`people let`; or it has not been started yet: `bascule up`."
)


def claim() -> None:
    """Show the code that makes you the first operator. Exit code 1 where there is none."""
    try:
        settings, _ = given.settings()
    except SettingsInvalid as error:
        tell(error, err=True)
        raise typer.Exit(2) from None
    code = codes.read(settings.home)
    if not code:
        tell(NONE, err=True)
        raise typer.Exit(1)
    tell(HOW, err=True)
    tell(f"claim {code}")
