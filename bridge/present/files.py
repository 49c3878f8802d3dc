"""Files that the agent, or a command, gives to a person: the posts that hold them."""

from __future__ import annotations

import mimetypes

from adapters.contract import FileOut, MessageOut
from agent_service.contract import errors, size_in_words
from agent_service.contract.events import FileReady
from bridge.present.decision import plain
from bridge.present.filename import safe_name

_CAPTION = 500


def file_out(name: str, data: bytes) -> FileOut:
    """A file under a name that is harmless wherever it is saved."""
    kind, _ = mimetypes.guess_type(name)
    return FileOut(safe_name(name), kind or "application/octet-stream", data)


def sent(event: FileReady, data: bytes) -> MessageOut:
    """The file, with the agent's words about it."""
    words = _said(event.name, len(data), event.caption)
    return MessageOut(words, files=(file_out(event.name, data),))


def too_large(path: str, size: int, limit: int, caption: str = "") -> MessageOut:
    """A file that the platform does not take: how large it is, and how it can be had."""
    name = path.rpartition("/")[2]
    why = (
        f"It is larger than a file may be here ({size_in_words(limit)}), so it was not sent. It "
        f"stays in the workspace as {plain(path)}: ask the agent for it in smaller parts or "
        "packed; `files` lists what is there."
    )
    return MessageOut(f"{_said(name, size, caption)}\n\n{why}", tone="notice")


def not_had(path: str, error: errors.ServiceError) -> MessageOut:
    """A file that could not be had from the workspace."""
    why = plain(f"{error.message} {error.remedy}".strip(), _CAPTION)
    return MessageOut(f"{plain(path)} could not be sent. {why}", tone="notice")


def _said(name: str, size: int, caption: str) -> str:
    words = f"**{plain(name, 120)}** ({size_in_words(size)})"
    return f"{words}\n{plain(caption, _CAPTION)}" if caption.strip() else words
