"""Files that came with a message, as blocks of the prompt: data, never words of a person."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_service.claude.media import DOCUMENT_LIMIT, media
from agent_service.contract.errors import ServiceError
from agent_service.contract.turns import AttachedFile
from agent_service.contract.workspaces import size_in_words
from agent_service.workspaces import beneath

TOGETHER = 12 * 1024 * 1024
"""Bytes of files that one prompt holds itself: they go along with every later request too."""
MOST_IMAGES = 20
"""Of more, the model takes only small ones."""


def blocks(work: Path, files: Sequence[AttachedFile]) -> tuple[list[dict[str, Any]], list[str]]:
    """(images and documents as blocks, a line about each file). Waits for the disk.

    A file that is not what was sent any more, or a link in its place, is named and not shown.
    """
    shown: list[dict[str, Any]] = []
    lines: list[str] = []
    left = TOGETHER
    for file in files:
        data, problem = _read(work, file, left)
        found = media(data) if data is not None and len(shown) < MOST_IMAGES else None
        words = size_in_words(file.size)
        if data is not None and found is not None:
            left -= len(data)
            shown.append(
                {
                    "type": found.block,
                    "source": {
                        "type": "base64",
                        "media_type": found.media_type,
                        "data": base64.b64encode(data).decode(),
                    },
                }
            )
            words += f", {found.media_type}, shown above"
        lines.append(f"{file.path}, {words}{problem}")
    return shown, lines


def _read(work: Path, file: AttachedFile, left: int) -> tuple[bytes | None, str]:
    """(the bytes where they may be shown, what is to be said besides)."""
    try:
        with beneath.opened(work) as top:
            handle, info = beneath.open_file(top, beneath.parts_of(file.path))
    except ServiceError:
        return None, ", not there any more"
    with os.fdopen(handle, "rb") as opened:
        if info.st_size != file.size:
            return None, ", changed since it was sent"
        if info.st_size > min(left, DOCUMENT_LIMIT):
            return None, ""
        data = opened.read(file.size + 1)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        return None, ", changed since it was sent"
    return data, ""
