"""What Slack adds to the `bascule` command."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from adapters.slack.manifest import manifest as made

__all__ = ["app"]

app = typer.Typer(add_completion=False)
slack = typer.Typer(add_completion=False, help="Set Slack up.")


@slack.callback()
def _group() -> None:
    """Set Slack up."""


@slack.command("manifest")
def manifest(
    name: Annotated[str, typer.Option(help="What the bot is called in Slack.")] = "Bascule",
    http: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="For SLACK_MODE=http: the address under which Slack reaches the bridge, such as "
            "https://bascule.example.org. Without it the manifest is for Socket Mode.",
        ),
    ] = "",
) -> None:
    """Print the app's manifest, to paste at https://api.slack.com/apps."""
    try:
        shown = made(name, http)
    except ValueError as error:
        typer.echo(f"--http {error}: Slack calls it from the internet.", err=True)
        raise typer.Exit(2) from None
    typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))


app.add_typer(slack, name="slack")
