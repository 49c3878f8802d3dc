"""What a command says to the operator."""

from __future__ import annotations

import typer

from agent_service.contract import redaction


def tell(text: object, *, err: bool = False) -> None:
    """Print it, without anything that looks like a credential."""
    typer.echo(redaction.hide_text(str(text)), err=err)
