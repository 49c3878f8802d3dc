"""What a script can consist of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Topic = Literal["help", "history", "name", "attachments", "system", "tools", "model"]


@dataclass(frozen=True)
class Say:
    """Answer with this text, its words spread evenly over `seconds`."""

    text: str
    seconds: float = 0


@dataclass(frozen=True)
class Tell:
    """Answer with a text that depends on the request."""

    topic: Topic


@dataclass(frozen=True)
class Echo:
    """The text is no script: answer in a friendly way and repeat it."""

    text: str


@dataclass(frozen=True)
class Wrong:
    """The script has a mistake: say what it is, and run none of its steps."""

    problem: str
    usage: str


@dataclass(frozen=True)
class Think:
    """Be silent for `seconds` before what follows."""

    seconds: float


@dataclass(frozen=True)
class Call:
    """One tool call, as the script names it: paths may be relative, the tool may be renamed."""

    tool: str
    input: Mapping[str, Any]


@dataclass(frozen=True)
class Calls:
    """Tool calls of one assistant message."""

    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Fail:
    """Answer with this HTTP status; an `error` event where text was already streamed."""

    status: int
    once: bool = False


@dataclass(frozen=True)
class Drop:
    """Close the connection in the middle of a sentence."""

    once: bool = False


@dataclass(frozen=True)
class Malformed:
    """Send an event that is not JSON."""


@dataclass(frozen=True)
class Hang:
    """Send nothing until the client goes away."""


Trouble = Fail | Drop | Malformed | Hang
Step = Say | Tell | Echo | Wrong | Think | Calls | Trouble
