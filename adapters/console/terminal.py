"""The terminal as a program: interactive on a terminal, plain in a pipe."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from adapters.console.attach import Ready, Unreadable, ready
from adapters.console.link import Dismissed, NotRunning
from adapters.console.piped import FAILED, OK, Piped, lines_of
from adapters.console.protocol import CONVERSATION

INTERACTIVE = "main"
INTERRUPTED = 130
TERMINAL_SECONDS = 1.0
GONE = 129
"""The terminal itself went away: there is nobody to tell."""


def chat(
    socket: Path,
    conversation: str,
    history: Path,
    *,
    ask: str | None,
    hint: str,
    place: Path,
    files: Sequence[str] = (),
) -> int:
    """The exit code. `place` is the deployment, for a person to read; `hint` says where a decision
    can be answered, if not by `bascule chat`. `files` of this machine go with the first message.

    An empty `conversation` is `main` on a terminal and a fresh one in a pipe.
    """
    if conversation and not CONVERSATION.fullmatch(conversation):
        return _fail("A conversation's name has 1 to 64 letters, digits, dots, dashes or _.")
    if files and ask is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _fail("--attach goes with --ask, or with a terminal.")
    try:
        attached = tuple(ready(path) for path in files)
        if ask is None and sys.stdin.isatty() and sys.stdout.isatty():
            return _interactive(socket, conversation or INTERACTIVE, history, attached)
        fresh = f"pipe-{secrets.token_hex(6)}"
        return _piped(socket, conversation or fresh, ask, hint, attached)
    except NotRunning:
        return _fail(
            f"No Bascule is running on {place}. Start it with `bascule up`, or try `bascule demo`."
        )
    except (Dismissed, Unreadable) as error:
        return _fail(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except EOFError:
        return GONE
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return GONE


def _interactive(socket: Path, conversation: str, history: Path, files: tuple[Ready, ...]) -> int:
    # Slow to import, and a pipe needs none of it.
    from adapters.console.chat import Chat

    async def run() -> None:
        watching = asyncio.create_task(_leave_with_the_terminal())
        try:
            await Chat(socket, conversation, history, sys.stdout, files).run()
        finally:
            watching.cancel()

    asyncio.run(run())
    return OK


async def _leave_with_the_terminal() -> None:
    """A terminal that is gone is always readable and says nothing: without this, a chat that no
    SIGHUP reaches would turn for ever."""
    while os.isatty(sys.stdin.fileno()):  # noqa: ASYNC110 - it raises no event
        await asyncio.sleep(TERMINAL_SECONDS)
    os._exit(GONE)  # nothing can be put right on it, and nobody is there to be told


def _piped(
    socket: Path, conversation: str, ask: str | None, hint: str, files: tuple[Ready, ...]
) -> int:
    async def run() -> int:
        piped = Piped(socket, conversation, sys.stdout, sys.stderr, hint)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, piped.interrupt)
        if ask is not None:
            return await piped.ask(os.fsencode(ask), files)
        return await piped.run(lines_of(sys.stdin.fileno()))

    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    try:
        return asyncio.run(run())
    except BrokenPipeError:
        # Nobody reads any more; the interpreter must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _fail(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - for the person at the terminal
    return FAILED
