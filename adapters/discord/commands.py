"""What Discord adds to the `bascule` command: `discord invite`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False)
discord = typer.Typer(no_args_is_help=True, help="Set up Discord.")
app.add_typer(discord, name="discord")


class _Settings(BaseSettings):
    """The adapter's own, of the environment and `.env`: this command runs without the bridge."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    discord_bot_token: str = ""
    discord_api_url: str = ""


@discord.command("invite")
def invite(
    application: Annotated[
        str, typer.Option(help="Id of the application. Default: the one DISCORD_BOT_TOKEN is of.")
    ] = "",
) -> None:
    """Print the link that adds the bot to a server, with exactly what it needs there."""
    from adapters.contract import SetupInvalid, TryLater
    from adapters.discord import setup  # `bascule --help` need not wait for discord.py
    from adapters.discord.invite import link

    if application and not (application.isdecimal() and application.isascii()):
        typer.echo(
            "An application's id is a number: General Information, Application ID.", err=True
        )
        raise typer.Exit(2)
    number = int(application or 0)
    if not number:
        given = _Settings()
        try:
            known = setup.read(
                {
                    "DISCORD_BOT_TOKEN": given.discord_bot_token,
                    "DISCORD_API_URL": given.discord_api_url,
                }
            )
            number = asyncio.run(setup.look(known)).id
        except (SetupInvalid, TryLater) as error:
            typer.echo(f"{error} {error.remedy}".strip(), err=True)
            raise typer.Exit(1) from None
    typer.echo(link(number))
