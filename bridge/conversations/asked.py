"""What a command gets, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sa

from adapters.contract import Address, Identity, Sender
from bridge.budgets.budgets import Budgets
from bridge.conversations import governing, places, sharing
from bridge.conversations.errands import Errand
from bridge.people import access
from bridge.people.access import Person
from bridge.people.sign_in import SignInLinks
from bridge.schedules.timetable import Timetable
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
    card: str = ""
    """A schedule that is to be confirmed, by its id."""
    schedules: bool = False
    """Something about schedules changed, or one of them was run."""
    sign_in: Callable[[SignInLinks], str] | None = None
    """It gives the text, instead: a link to the web admin."""

    @property
    def unfinished(self) -> bool:
        """Something is left to do once the command is stored."""
        return self.call is not None or self.errand is not None


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
    budgets: Budgets
    stop: Callable[[sa.Connection, Database, Any], bool] = field(repr=False)
    people: tuple[Identity, ...] = ()
    keys: tuple[str, ...] = ()
    timetable: Timetable = field(kw_only=True)

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

    def claimed(self, title: str = "") -> Any:
        """The conversation, which is the sender's from now on where it was nobody's; made if
        nobody has written there yet. Ask `refusal` first."""
        home = self.home
        if home is not None and (home.owner is not None or home.workspace is not None):
            return home
        return places.open_or_create(
            self.con,
            self.db,
            self.address,
            owner=self.who.id,
            title=title,
            workspace=sharing.workspace_at(self.con, self.address),
        )

    def whom(self, word: str) -> Person | None:
        """Somebody by a mention or their id; a removed person is nobody."""
        for account in self.people:
            if account.user and account.user in word:
                return access.find(self.con, account)
        found = access.by_id(self.con, word.strip("`"))
        return None if found is None or found.role == "removed" else found


@dataclass(frozen=True, slots=True)
class Typing:
    """Somebody who is let in is writing a command. `home` is None where nobody has written yet."""

    con: sa.Connection
    who: Person
    home: Any | None


Command: TypeAlias = Callable[[Asked], Reply]
Suggestions: TypeAlias = dict[str, Callable[[Typing], list[tuple[str, str]]]]
"""By name, what may follow: (rest, label) pairs, the likeliest first."""
Commands: TypeAlias = dict[str, tuple[Command, str]]
"""By name, each with what it does in words that fit on a phone."""
NOBODY = "There is no such person here. Mention them, or give their id: `whoami` tells it."


def first_words(*words: str) -> Callable[[Typing], list[tuple[str, str]]]:
    """Suggestions that are always the same."""
    return lambda _: [(word, word) for word in words]
