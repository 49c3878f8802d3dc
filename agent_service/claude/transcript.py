"""What the CLI keeps of a session: a file of JSON lines in its config directory.

The agent can write there. So what is read here may save time, and decides nothing.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent_service.contract.errors import NotFound, ServiceError
from agent_service.workspaces import beneath

LARGEST = 1024 * 1024 * 1024
"""Bytes of a transcript that are read."""
LONGEST = 32 * 1024 * 1024
"""Bytes of a line that are understood: a message with the largest file that a model takes."""
_LAST = b'"type":"last-prompt"'
_CAREFUL = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_USE = (OSError, ServiceError, ValueError, AttributeError, TypeError, KeyError, RecursionError)
"""What reading a file that anybody may have written ends in."""


class _NotWritten(ValueError):
    """No CLI wrote that."""


def _opened(config: Path, session_id: str, flags: int = os.O_RDONLY) -> Iterator[int | None]:
    """Descriptors of the session's files, each good until the next; None for what cannot be opened.
    Follows no link, and waits for nothing, whatever lies there. Raises `ServiceError`."""
    name = f"{session_id}.jsonl"
    with (
        suppress(NotFound),
        beneath.opened(config) as top,
        beneath.folder(top, ("projects",)) as projects,
    ):
        for project in os.listdir(projects):  # noqa: PTH208 - by descriptor
            try:
                with beneath.folder(projects, (project,)) as folder:
                    handle = os.open(name, flags | _CAREFUL, dir_fd=folder)
            except (FileNotFoundError, NotFound, NotADirectoryError):
                continue
            except (OSError, ServiceError):
                yield None
                continue
            try:
                yield handle
            finally:
                os.close(handle)


def _lines(handle: int | None) -> Iterator[bytes]:
    """Raises `_NotWritten` where it is not what the CLI would write."""
    if handle is None:
        raise _NotWritten
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode) or info.st_size > LARGEST:
        raise _NotWritten
    left = info.st_size
    with os.fdopen(os.dup(handle), "rb") as file:
        # No further than it was at first: somebody may be writing to it.
        while left > 0 and (line := file.readline(min(left, LONGEST + 1))):
            if len(line) > LONGEST:
                raise _NotWritten
            left -= len(line)
            yield line


def exists(config: Path, session_id: str) -> bool:
    """Whether the session was ever told anything, so that it can be resumed. Blocks a moment."""
    with suppress(OSError, ServiceError):
        for handle in _opened(config, session_id):
            if handle is None:
                continue
            info = os.fstat(handle)
            if stat.S_ISREG(info.st_mode) and info.st_size:
                return True
    return False


def unresolved(config: Path, session_id: str) -> bool:
    """Whether a call may lie in it that has no result yet. True where it cannot be read.

    Blocks for as long as it takes to read.
    """
    made: set[str] = set()
    try:
        for handle in _opened(config, session_id):
            for line in _lines(handle):
                if b'"tool_' in line or not line.endswith(b"\n"):
                    _follow(json.loads(line), made)
    except _NO_USE:
        return True
    return bool(made)


def lead_on(config: Path, session_id: str) -> None:
    """Have a resume go on from the newest message, whatever became of the process before.

    When a call was deferred, the CLI notes where the session then stood, and notes it anew when it
    ends in order. Killed in between, it would go on from the old place, and all that was said
    since would be forgotten (observed). So the note is renewed where it is older than a message.
    Blocks for as long as it takes to read.
    """
    with suppress(OSError, ServiceError):
        for handle in _opened(config, session_id, os.O_RDWR | os.O_APPEND):
            with suppress(*_NO_USE):
                _renew(handle, _lines(handle))


def _renew(handle: int | None, lines: Iterator[bytes]) -> None:
    note: dict[str, Any] | None = None
    newest, whole = "", True
    for line in lines:
        whole = line.endswith(b"\n")
        if _LAST in line.replace(b" ", b""):
            note, newest = json.loads(line), ""
        elif whole and b'"uuid"' in line:
            message = json.loads(line)
            if message.get("type") in ("user", "assistant") and not message.get("isSidechain"):
                newest = str(message["uuid"])
    if handle is not None and note is not None and newest:
        renewed = json.dumps({**note, "leafUuid": newest}).encode()
        os.write(handle, (b"" if whole else b"\n") + renewed + b"\n")


def _follow(line: dict[str, Any], made: set[str]) -> None:
    content = (line.get("message") or {}).get("content")
    for block in content if isinstance(content, list) else ():
        if block.get("type") == "tool_use":
            made.add(block["id"])
        elif block.get("type") == "tool_result":
            made.discard(block["tool_use_id"])
