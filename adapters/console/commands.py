"""What the console adds to the `bascule` command: `chat`, and a check of its socket."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["app", "checks"]

app = typer.Typer(add_completion=False)


class _Home(BaseSettings):
    """Only where the deployment is: the terminal has no settings of its own."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    bascule_home: Path = Path("data")

    @field_validator("bascule_home", mode="before")
    @classmethod
    def _some_place(cls, value: Any) -> Any:
        if not str(value).strip():
            raise ValueError("is empty; name a folder, or leave the setting out")
        try:
            return Path(value).expanduser()
        except RuntimeError:
            raise ValueError("begins with ~, but whose home that is cannot be told") from None


@app.command("chat")
def chat(
    socket: Annotated[
        Path | None,
        typer.Option(help="The console's socket. Default: run/console.sock in BASCULE_HOME."),
    ] = None,
    conversation: Annotated[
        str,
        typer.Option(
            help="Which of your conversations. Default: main; in a pipe and with --ask a fresh one."
        ),
    ] = "",
    ask: Annotated[
        str | None, typer.Option(help="Send this one message, print the answer, end.")
    ] = None,
    attach: Annotated[
        list[str] | None,
        typer.Option(help="A file of this machine for the first message; may be given again."),
    ] = None,
    hint: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Chat with the agent of a running Bascule in this terminal.

    With its input piped, each line is a message and the answers are printed as plain text, in a
    fresh conversation unless --conversation names one. Exit codes: 0 all answered; 1 one failed,
    or no Bascule is running; 2 a line is no UTF-8; 3 a turn waits for your decision.
    """
    from adapters.console.terminal import chat as run  # `bascule --help` need not wait for it

    home = socket or _home()
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = socket or home / "run" / "console.sock"
    history = state / "bascule" / "chat_history"
    code = run(path, conversation, history, ask=ask, hint=hint, place=home, files=attach or ())
    raise typer.Exit(code)


def _home() -> Path:
    """The deployment's home. Ends the command with words where it cannot be told."""
    try:
        return _Home().bascule_home.absolute()
    except ValidationError as error:
        said = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        typer.echo(f"BASCULE_HOME: {said}", err=True)
    except UnicodeDecodeError:
        here = Path(".env").absolute()
        typer.echo(f".env: {here} is not UTF-8 text; save it as UTF-8, or move it away.", err=True)
    except OSError as error:
        typer.echo(f".env: it cannot be read ({os.strerror(error.errno or 0)}).", err=True)
    raise typer.Exit(2)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `bascule doctor`."""

    title: str
    state: Literal["ok", "warning", "failed"]
    detail: str = ""
    remedy: str = ""


def checks(home: Path) -> list[Check]:
    """Whether the console's socket can be where it must be."""
    from adapters.console.listening import check_path
    from adapters.contract import SetupInvalid

    try:
        check_path(home.absolute() / "run" / "console.sock")
    except SetupInvalid as error:
        return [Check("Console socket", "failed", str(error), error.remedy)]
    return [Check("Console socket", "ok")]
