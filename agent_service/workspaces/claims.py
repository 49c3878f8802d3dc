"""Who uses a workspace, so that nobody empties it under somebody's hands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from agent_service.contract.errors import Conflict, Unavailable


class Claims:
    """For one thread: the event loop's."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()
        self._alone: set[str] = set()

    def check(self, workspace: str) -> None:
        """Raises `Unavailable` while somebody has the workspace alone."""
        if workspace in self._alone:
            raise Unavailable(
                "This workspace is being emptied or removed.", remedy="Try again in a moment."
            )

    @contextmanager
    def using(self, workspace: str) -> Iterator[None]:
        """One of many. Raises `Unavailable` while somebody has it alone."""
        self.check(workspace)
        self._used[workspace] += 1
        try:
            yield
        finally:
            self._used[workspace] -= 1
            if not self._used[workspace]:
                del self._used[workspace]

    @contextmanager
    def alone(self, workspace: str) -> Iterator[None]:
        """The only one. Raises `Conflict` while it is in use, `Unavailable` as above."""
        self.check(workspace)
        if workspace in self._used:
            raise Conflict(
                "A file of this workspace is being transferred.", remedy="Try again afterwards."
            )
        self._alone.add(workspace)
        try:
            yield
        finally:
            self._alone.discard(workspace)
