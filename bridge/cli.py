"""The `bascule` command: it discovers its subcommands, nothing else."""

from __future__ import annotations

import sys
from importlib.metadata import version

import typer

from bridge.commands import groups
from bridge.commands.tell import tell


def make() -> typer.Typer:
    """The command with everything that is installed."""
    app = typer.Typer(
        name="bascule",
        help="Talk to Claude Code from chat. Try it without any token: `bascule demo`.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def root(
        show_version: bool = typer.Option(False, "--version", help="Print the version and leave."),
    ) -> None:
        if show_version:
            typer.echo(version("bascule"))
            raise typer.Exit

    for group in groups.load():
        if group.problem:
            tell(
                f"bascule: {group.problem} Repair or remove its package; its commands are missing.",
                err=True,
            )
        elif group.app is not None:
            app.add_typer(group.app)
    return app


def main() -> None:
    """Exit codes: 0 done, 1 it did not work out, 2 used or set up wrongly."""
    try:
        make()()
    except KeyboardInterrupt:
        sys.exit(130)
