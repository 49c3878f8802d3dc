"""The small language: a person's text in, steps out."""

from __future__ import annotations

import re

from agent_service.testing.build import MistakeError
from agent_service.testing.commands import COMMANDS, Command
from agent_service.testing.steps import Echo, Step, Wrong

_OPENINGS = [(re.compile(command.opening, re.IGNORECASE), command) for command in COMMANDS]
# "then" separates steps only before a command: "say first this then that" is one sentence. After
# a semicolon it is the shell's.
_ANY = "|".join(command.opening.removesuffix("$") for command in COMMANDS)
_THEN = re.compile(rf"(?<!;)(?:,|\s+and|,\s+and)?\s+then\s+(?={_ANY})", re.IGNORECASE)


def parse(text: str) -> tuple[Step, ...]:
    """The steps of `text`: never empty, never an exception.

    Text that starts with no command is one Echo; a mistake anywhere makes it one Wrong, so that
    no half of a script runs.
    """
    steps: list[Step] = []
    for piece in _pieces(text.strip()):
        found = _command(piece)
        if found is None:
            return (Echo(text),)
        command, rest = found
        try:
            steps.append(command.build(rest))
        except MistakeError as mistake:
            return (Wrong(str(mistake), command.usage),)
    return tuple(steps)


def _pieces(text: str) -> list[str]:
    """One piece a step. A line that starts with no command belongs to the step before it."""
    pieces: list[str] = []
    for line in text.split("\n"):
        first, *more = _THEN.split(line)
        if pieces and _command(first.strip()) is None:
            pieces[-1] += "\n" + first
        else:
            pieces.append(first.strip())
        pieces.extend(piece.strip() for piece in more)
    return pieces


def _command(piece: str) -> tuple[Command, str] | None:
    for opening, command in _OPENINGS:
        match = opening.match(piece)
        if match:
            return command, piece[match.end() :].strip()
    return None
