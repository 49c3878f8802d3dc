"""What a command gets, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sa

from adapters.contract import Address, Identity, Sender
from bridge.conversations import governing, sharing
from bridge.conversations.errands import Errand
from bridge.people import access
from bridge.people.access import Person
from bridge.people.sign_in import SignInLinks
from bridge.store.database import Database


@dataclass(frozen=True, slots=True)
class Reply:
    """What the sender reads. `stopped` are messages whose turns are to be stopped, `taken_back`
    those that had none yet."""

    text: str
    stopped: tuple[int, ...] = ()
    taken_back: tuple[int, ...] = ()
    call: governing.Call | None = None
    """It gives the text, instead."""
    errand: Errand | None = None
    """It gives the text, and perhaps a file, instead."""
    queued: bool = False
    """It stored a message that is to be taken."""
    sign_in: Callable[[SignInLinks], str] | None = None
    """It gives the text, instead: a link to the web admin."""


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
    people: tuple[Identity, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return self.rest.split()

    @property
    def refusal(self) -> str:
        """Why this conversation is none of theirs; empty where it is, or where there is none."""
        if self.home is None:
            bound = sharing.workspace_at(self.con, self.address)
            if bound is None or sharing.is_member(self.con, bound, self.who.id):
                return ""
            return sharing.NOT_A_MEMBER.format(id=self.who.id)
        if self.home.owner is None and self.home.workspace is None:
            return ""
        return sharing.refusal(self.con, self.home, self.who)

    @property
    def workspace(self) -> str:
        """Where this conversation works, or would."""
        if self.home is None:
            return sharing.workspace_at(self.con, self.address) or self.who.workspace
        return sharing.workspace_of(self.con, self.home) or self.who.workspace

    def whom(self, word: str) -> Person | None:
        """Somebody by a mention or their id; a removed person is nobody."""
        for account in self.people:
            if account.user and account.user in word:
                return access.find(self.con, account)
        found = access.by_id(self.con, word.strip("`"))
        return None if found is None or found.role == "removed" else found


Command: TypeAlias = Callable[[Asked], Reply]
Commands: TypeAlias = dict[str, tuple[Command, str]]
"""By name, each with what it does in words that fit on a phone."""
NOBODY = "There is no such person here. Mention them, or give their id: `whoami` tells it."
