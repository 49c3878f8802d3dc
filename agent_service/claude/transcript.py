"""What the CLI keeps of a session: a file of JSON lines in its config directory.

The agent can write there. So what is read here may save time, and decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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


def _follow(line: dict[str, Any], made: set[str]) -> None:
    content = (line.get("message") or {}).get("content")
    for block in content if isinstance(content, list) else ():
        if block.get("type") == "tool_use":
            made.add(block["id"])
        elif block.get("type") == "tool_result":
            made.discard(block["tool_use_id"])
