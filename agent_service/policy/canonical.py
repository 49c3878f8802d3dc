"""What exactly was shown: hashes that a released call must equal."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

_EDITS = {"Write": "file_path", "Edit": "file_path", "NotebookEdit": "notebook_path"}
ABSENT = "absent"
TOO_LARGE = "too large"
"""In place of a hash: equal to nothing, itself included, so no such call is ever let go."""
LARGEST = 64 * 1024 * 1024
"""Bytes of a file whose edit can be decided about; far more than the CLI edits."""
_PART = 1024 * 1024


def input_sha256(tool: str, tool_input: dict[str, Any]) -> str:
    """The hash of a call: equal for equal tool and input, whatever the order of keys."""
    text = json.dumps([tool, tool_input], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def target_sha256(tool: str, tool_input: dict[str, Any], workdir: Path) -> str:
    """The hash of the file that an edit would change, `absent` where there is none, `TOO_LARGE`
    beyond `LARGEST`: compare it by `same_target`. Blocks for as long as it takes to read.

    Empty for calls that edit no file and for files outside the workspace.
    """
    name = tool_input.get(_EDITS.get(tool, ""))
    if not isinstance(name, str):
        return ""
    root = os.path.realpath(workdir)
    try:
        path = os.path.realpath(Path(workdir, name))
    except ValueError:  # no path can have that in it
        return ""
    if os.path.commonpath([root, path]) != root:
        return ""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ABSENT
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            return ABSENT
        digest, left = hashlib.sha256(), LARGEST
        while part := file.read(min(_PART, left + 1)):
            left -= len(part)
            if left < 0 or info.st_size > LARGEST:
                return TOO_LARGE
            digest.update(part)
        return digest.hexdigest()


def same_target(shown: str, now: str) -> bool:
    """Whether a file is surely the one that was shown."""
    return shown == now != TOO_LARGE
