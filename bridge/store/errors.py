"""What the store can fail at.

StoreUnusable       it cannot be opened; start-up stops
├── StoreBusy       another bridge process has it
└── SchemaTooNew    a newer release made it
StoreTrouble        it fails now and may work later (also an `adapters.contract.NotStored`)
├── StoreFull       there was no room; nothing was stored
└── StoreAway       it does not answer; the transaction that was in its commit may be stored
"""

from __future__ import annotations

from adapters.contract import NotStored


class StoreUnusable(Exception):
    """The database cannot be used. The text is for an operator and says what to do."""


class StoreBusy(StoreUnusable):
    pass


class SchemaTooNew(StoreUnusable):
    pass


class StoreTrouble(NotStored):
    """Trying again later may help. To hand the same over again is harmless."""


class StoreFull(StoreTrouble):
    """No room on the disk. Nothing of the transaction was stored."""

    def __init__(
        self,
        message: str = "There is no room on the bridge's disk.",
        remedy: str = "Make room on the disk that holds BASCULE_HOME.",
    ) -> None:
        super().__init__(message, remedy=remedy)


class StoreAway(StoreTrouble):
    """The database does not answer, not in time, or cannot be written just now."""
