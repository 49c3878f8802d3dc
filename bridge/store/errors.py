"""What the store can fail at.

StoreUnusable       it cannot be opened; start-up stops
├── StoreBusy       another bridge process has it
└── SchemaTooNew    a newer release made it
StoreFull           there was no room; nothing was stored, and it works again once there is
                    (also an `adapters.contract.NotStored`)
"""

from __future__ import annotations

from adapters.contract import NotStored


class StoreUnusable(Exception):
    """The database cannot be used. The text is for an operator and says what to do."""


class StoreBusy(StoreUnusable):
    pass


class SchemaTooNew(StoreUnusable):
    pass


class StoreFull(NotStored):
    """No room on the disk. Nothing of the transaction was stored."""

    def __init__(self, message: str = "There is no room on the bridge's disk.") -> None:
        super().__init__(message, remedy="Make room on the disk that holds BASCULE_HOME.")
