"""A bridge for tests: it remembers what it was given, and fails or waits when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from adapters.contract import (
    ActionIn,
    Address,
    CommandIn,
    CommandView,
    ConversationView,
    Field,
    Identity,
    Inbound,
    Lifecycle,
    MessageIn,
    MessageOut,
    NotStored,
    PersonView,
    Place,
    Receipt,
)


class RecordingHost:
    """Implements `adapters.contract.Host`. A key seen before is a duplicate, in any process."""

    def __init__(self) -> None:
        self.received: list[Inbound] = []
        """What was stored, in order."""
        self.duplicates: list[Inbound] = []
        self.refuse = 0
        """So many of the next calls raise `NotStored`."""
        self.refused: list[Inbound] = []
        self.begun = 0
        self.overlaps = 0
        """Calls for one address that were not awaited one after another."""
        self.reply: MessageOut | None = None
        """What commands are answered with."""
        self.people: dict[Identity, PersonView] = {}
        self.forms: dict[str, Sequence[Field]] = {}
        """By the action of the choice that has it."""
        self.suggestions: Sequence[tuple[str, str]] = ()
        self._keys: set[str] = set()
        self._under_way: set[object] = set()
        self._gate = asyncio.Event()
        self._gate.set()
        self._news = asyncio.Event()

    async def submit(self, inbound: Inbound) -> Receipt:
        """See the port."""
        self.begun += 1
        self._tell()
        self.overlaps += inbound.address in self._under_way
        self._under_way.add(inbound.address)
        try:
            await self._gate.wait()
            return self._store(inbound)
        finally:
            self._under_way.discard(inbound.address)
            self._tell()

    async def conversations(self, who: Identity) -> Sequence[ConversationView]:
        """Nothing: adapters must do without."""
        return ()

    async def person(self, who: Identity) -> PersonView | None:
        """What a test set."""
        return self.people.get(who)

    async def known(self, at: Address) -> bool:
        """Wherever a message was stored."""
        return any(one.address == at for one in self.messages)

    async def places(self, platform: str, since: datetime) -> Sequence[Place]:
        """Wherever a message was stored, whenever that was."""
        newest: dict[Address, int] = {}
        for one in self.messages:
            if one.address.platform == platform:
                newest[one.address] = max(one.order, newest.get(one.address, one.order))
        return [Place(at, order) for at, order in newest.items()]

    async def suggest(
        self, who: Identity, at: Address, name: str, typed: str
    ) -> Sequence[tuple[str, str]]:
        """What a test set, as far as it begins with what was typed."""
        return [one for one in self.suggestions if one[0].startswith(typed)]

    async def form(self, action: str) -> Sequence[Field]:
        """What a test set."""
        return self.forms.get(action, ())

    def command_views(self, admin: bool = False) -> Sequence[CommandView]:
        """A few of each kind."""
        few = (CommandView("help", "this list"), CommandView("stop", "stop what is running now"),
               CommandView("mode", "what it does unasked"),
               CommandView("share", "let somebody take part", people=True))  # fmt: skip
        return (*few, CommandView("people", "who is let in", people=True)) if admin else few

    def hold(self) -> None:
        """Let calls wait until `release`."""
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    @property
    def messages(self) -> list[MessageIn]:
        return [one for one in self.received if isinstance(one, MessageIn)]

    @property
    def actions(self) -> list[ActionIn]:
        return [one for one in self.received if isinstance(one, ActionIn)]

    @property
    def commands(self) -> list[CommandIn]:
        return [one for one in self.received if isinstance(one, CommandIn)]

    async def changed(self) -> None:
        """Returns after the next call began or ended."""
        self._news.clear()
        await self._news.wait()

    def _tell(self) -> None:
        self._news.set()

    def _store(self, inbound: Inbound) -> Receipt:
        if isinstance(inbound, Lifecycle):
            return Receipt("ignored")
        if self.refuse > 0:
            self.refuse -= 1
            self.refused.append(inbound)
            raise NotStored("The disk is full.", remedy="Make room.")
        kind = type(inbound).__name__
        keys = {f"{kind}:{inbound.address.platform}:{key}" for key in inbound.keys}
        if keys & self._keys:
            self.duplicates.append(inbound)
            return Receipt("duplicate")
        self._keys |= keys
        self.received.append(inbound)
        return Receipt("stored", self.reply if isinstance(inbound, CommandIn) else None)
