"""`python -m adapters.console`: the same as `bascule chat`."""

from __future__ import annotations

from adapters.console.commands import app

if __name__ == "__main__":
    app(prog_name="bascule chat")
