"""What can go wrong between the bridge and a chat platform.

    AdapterError
    ├── SetupInvalid        settings are missing or refused by the platform; start-up stops
    ├── DeliveryError       a post, an edit or a file did not get through
    │   ├── TryLater        it may get through later; `after` says when (seconds)
    │   ├── Gone            the place or the message no longer exists; give up on it
    │   └── NotAllowed      the platform refuses; `missing` names the permission
    ├── FileRefused         an attachment cannot be had; `reason` is for the person
    └── NotStored           the bridge could not store what was handed over: do not acknowledge it

Every error carries `remedy`: what the person who can act should do, in words for them.
"""

from __future__ import annotations


class AdapterError(Exception):
    """Base of all errors of the port. `str(error)` is fit for a person, never holds a secret."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class SetupInvalid(AdapterError):
    """The adapter cannot start with these settings. `fields` names the ones to change."""

    def __init__(self, message: str, *, fields: tuple[str, ...] = (), remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.fields = fields


class DeliveryError(AdapterError):
    """Something did not reach the platform."""


class TryLater(DeliveryError):
    """The platform asked for patience or could not be reached; `after` is in seconds."""

    def __init__(self, message: str, *, after: float, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.after = after


class Gone(DeliveryError):
    """The message or the place does not exist any more: trying again cannot help."""


class NotAllowed(DeliveryError):
    """The platform refuses the bot; `missing` is the platform's own name of what it lacks."""

    def __init__(self, message: str, *, missing: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.missing = missing


class FileRefused(AdapterError):
    """An attachment cannot be fetched: too large, gone, or not on the platform's own hosts."""


class NotStored(AdapterError):
    """Nothing was stored (a full disk, a lost database). The platform must deliver it again."""
