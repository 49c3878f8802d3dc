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

from agent_service.contract.errors import ServiceError
from agent_service.workspaces import beneath

_LAST = b'"type":"last-prompt"'


def _files(config: Path, session_id: str) -> Iterator[Path]:
    return config.glob(f"projects/*/{session_id}.jsonl")


def exists(config: Path, session_id: str) -> bool:
    """Whether the session was ever told anything, so that it can be resumed."""
    return any(path.stat().st_size for path in _files(config, session_id))


def unresolved(config: Path, session_id: str) -> bool:
    """Whether a call may lie in it that has no result yet. True where it cannot be read."""
    made: set[str] = set()
    try:
        for path in _files(config, session_id):
            with path.open("rb") as lines:
                for line in lines:
                    if b'"tool_' in line or not line.endswith(b"\n"):
                        _follow(json.loads(line), made)
    except (OSError, ValueError, AttributeError, TypeError):
        return True
    return bool(made)


def lead_on(config: Path, session_id: str) -> None:
    """Have a resume go on from the newest message, whatever became of the process before.

    When a call was deferred, the CLI notes where the session then stood, and notes it anew when it
    ends in order. Killed in between, it would go on from the old place, and all that was said
    since would be forgotten (observed). So the note is renewed where it is older than a message.
    """
    for path in _files(config, session_id):
        with (
            suppress(OSError, ServiceError, ValueError, AttributeError, TypeError),
            beneath.opened(config) as top,
            beneath.folder(top, ("projects", path.parent.name)) as folder,
        ):
            flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(path.name, flags, dir_fd=folder)
            with os.fdopen(handle, "rb+") as lines:
                if stat.S_ISREG(os.fstat(handle).st_mode):
                    _renew(handle, lines)


def _renew(handle: int, lines: Iterator[bytes]) -> None:
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
    if note is not None and newest:
        renewed = json.dumps({**note, "leafUuid": newest}).encode()
        os.write(handle, (b"" if whole else b"\n") + renewed + b"\n")


def _follow(line: dict[str, Any], made: set[str]) -> None:
    content = (line.get("message") or {}).get("content")
    for block in content if isinstance(content, list) else ():
        if block.get("type") == "tool_use":
            made.add(block["id"])
        elif block.get("type") == "tool_result":
            made.discard(block["tool_use_id"])
