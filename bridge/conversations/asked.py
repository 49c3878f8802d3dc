"""What a command gets, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sa

from adapters.contract import Address, Sender
from bridge.conversations import governing
from bridge.conversations.errands import Errand
from bridge.people.access import Person
from bridge.store.database import Database


@dataclass(frozen=True, slots=True)
class Reply:
    """What the sender reads. `stopped` is the message whose turn is to be stopped, `taken_back`
    the one that had none yet."""

    text: str
    stopped: int | None = None
    taken_back: int | None = None
    call: governing.Call | None = None
    """It gives the text, instead."""
    errand: Errand | None = None
    """It gives the text, and perhaps a file, instead."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command with everything it needs. `home` is None where nobody has written yet."""

    con: sa.Connection
    db: Database
    sender: Sender
    who: Person
    home: Any | None
    address: Address
    rest: str
    stop: Callable[[sa.Connection, Database, Any], bool] = field(repr=False)


Command: TypeAlias = Callable[[Asked], Reply]
