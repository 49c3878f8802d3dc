"""What a revocation covers, and what it needs of those who hold sessions and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent_service.contract.credentials import RevocationScope


@dataclass(frozen=True, slots=True)
class Scope:
    """One credential, everything of one person, or everything."""

    kind: RevocationScope
    subject: str = ""

    def covers(self, *, credential: str, person: str) -> bool:
        """Whether what `person` does with `credential` is over. `person` is empty for a credential
        of the deployment."""
        if self.kind == "everything":
            return True
        return self.subject == (credential if self.kind == "credential" else person)


class Tokens(Protocol):
    def void(self, scope: Scope) -> int:
        """Make session tokens worthless at once; gives how many. Safe to repeat."""
        ...


class Sessions(Protocol):
    async def stop(self, scope: Scope) -> int:
        """End the sessions that a revocation covers, running turns included; gives how many.

        Returns when their processes are gone. Safe to repeat and to cancel.
        """
        ...
