"""What each conversation was last told as its workspace's instructions.

The CLI keeps the system prompt that a session began with, and goes on with it when it is resumed
(observed). So what was changed since is told with the next prompt.
"""

from __future__ import annotations

import hashlib

CHANGED = "The workspace's own instructions (CLAUDE.md) were changed; from now on they are:\n\n"
NONE_LEFT = "The workspace has no instructions of its own (CLAUDE.md) now."


class Told:
    """One a service. After its start it does not know, and tells each resumed conversation once."""

    def __init__(self) -> None:
        self._last: dict[str, bytes] = {}

    def began(self, conversation: str, instructions: str) -> None:
        """Its session begins with these in its system prompt."""
        self._last[conversation] = _digest(instructions)

    def news(self, conversation: str, instructions: str) -> str:
        """What its next prompt has to say about them; empty where it knows."""
        digest = _digest(instructions)
        if self._last.get(conversation) == digest:
            return ""
        self._last[conversation] = digest
        return f"{CHANGED}{instructions.strip()}" if instructions.strip() else NONE_LEFT


def _digest(instructions: str) -> bytes:
    return hashlib.sha256(instructions.strip().encode("utf-8", "replace")).digest()
