"""One conversation on the console and the terminals that look at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from adapters.console.protocol import Down
from adapters.contract import Address, Host, Inbound, Receipt


class Terminal(Protocol):
    """Somebody who sees the conversation."""

    def show(self, value: Down) -> None:
        """Returns at once."""
        ...


def address_of(uid: str, conversation: str) -> Address:
    """A person's conversation of that name. Nobody else can name it: the uid is the kernel's."""
    return Address("console", "local", f"{uid}/{conversation}", direct=True)


class Orders:
    """The platform's own time: nanoseconds, and always more than the last."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last = max(self._last + 1, time.time_ns())
        return self._last


class Room:
    """`place` is what the conversation's entries are kept under."""

    def __init__(self, place: str, orders: Orders) -> None:
        self.place = place
        self.address = Address("console", "local", place, direct=True)
        self.terminals: set[Terminal] = set()
        self.status = ""
        self._orders = orders
        self._one = asyncio.Lock()

    def show(self, value: Down) -> None:
        """To all its terminals."""
        for terminal in self.terminals:
            terminal.show(value)

    async def submit(self, host: Host, make: Callable[[int], Inbound]) -> Receipt:
        """Hand over what `make` makes of its order; one after another in this conversation."""
        async with self._one:
            return await host.submit(make(self._orders.next()))


class Rooms:
    """Rooms by place. One without terminals and without a status is forgotten."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._orders = Orders()

    def at(self, place: str) -> Room:
        return self._rooms.setdefault(place, Room(place, self._orders))

    def open(self, place: str) -> Room | None:
        """The room, where anybody looks at it or something goes on in it."""
        return self._rooms.get(place)

    def leave(self, room: Room, terminal: Terminal) -> None:
        room.terminals.discard(terminal)
        self.tidy(room)

    def tidy(self, room: Room) -> None:
        """Forget it, if there is nothing to remember."""
        if not room.terminals and not room.status and self._rooms.get(room.place) is room:
            del self._rooms[room.place]

    @property
    def terminals(self) -> int:
        return sum(len(room.terminals) for room in self._rooms.values())
