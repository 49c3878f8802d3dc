"""What an adapter's author writes so that the suite can play the platform and its people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from adapters.contract import Adapter, Address, Host, Identity

Who: TypeAlias = Literal["ann", "ben"]
"""Two accounts of the platform. Ann begins; Ben reads along where a platform lets him."""


class ConformanceError(AssertionError):
    """An adapter broke a promise of the port; `str(error)` says which and how."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A post as a person sees it now: its text (formatting may be gone) and its buttons."""

    text: str
    choices: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Names of the files that came with it."""


class Harness(Protocol):
    """One adapter with a platform that the harness plays. Each check gets a fresh one.

    The platform remembers over `stop` and `start` what a real one would: posts, and what the
    adapter keeps in its own directory.
    """

    place: Address
    """A conversation that Ann is in, as the adapter must name it."""

    def identity(self, who: Who) -> Identity:
        """The account, as the adapter must name it."""
        ...

    async def start(self, host: Host) -> Adapter:
        """Make the adapter and run it with `host`; returns when it takes and shows messages."""
        ...

    async def stop(self) -> None:
        """Cancel `Adapter.run` and wait for its end. Raises what `run` raised."""
        ...

    def left_running(self) -> Sequence[str]:
        """After `stop`: tasks, threads, connections or sockets that the adapter left behind."""
        ...

    async def say(self, text: str, *, key: str, again: bool = False) -> bool:
        """The platform delivers a message from Ann at `place`; with `again`, once more the
        message of that key. Returns True when it was acknowledged, False when it was not (the
        platform would deliver it again)."""
        ...

    async def press(
        self, post: str, label: str, values: Mapping[str, Sequence[str]], *, key: str
    ) -> bool:
        """Ann presses the button `label` of the post whose text holds `post`, and fills its form
        with `values`. Acknowledged or not, as `say`."""
        ...

    async def command(self, name: str, rest: str, *, key: str) -> bool:
        """Ann gives a command to the bot at `place`. Acknowledged or not, as `say`."""
        ...

    async def read(self, who: Who) -> Sequence[Seen]:
        """Everything this person sees of what the adapter posted, wherever it is shown to them;
        oldest first. Waits until the platform has shown all it accepted."""
        ...

    async def attach(self, text: str, name: str, data: bytes, *, key: str) -> bool:
        """The platform delivers a message from Ann at `place` with a file. Acknowledged or not, as
        `say`."""
        ...

    async def fail(self) -> None:
        """From now on the platform accepts no post and no edit."""
        ...

    async def mend(self) -> None:
        """The platform works again."""
        ...
