"""Where a workspace lies on disk.

The service makes these folders and reads CLAUDE.md. It runs no tool in them: their files are the
agent's and may be made to run code.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from agent_service.contract.errors import BadRequest
from agent_service.contract.turns import ID_PATTERN

INSTRUCTIONS = "CLAUDE.md"
INSTRUCTIONS_LIMIT = 64 * 1024
"""Bytes of CLAUDE.md that reach the agent."""
_ID = re.compile(ID_PATTERN)


@dataclass(frozen=True, slots=True)
class Workspace:
    """`work` is the agent's; `config` holds its sessions; `home` is what its shells see as HOME."""

    id: str
    work: Path
    config: Path
    home: Path


class Workspaces:
    """All workspaces under one directory, by minted id."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def ensure(self, workspace: str) -> Workspace:
        """The workspace, made if need be. Raises `BadRequest` for an id that is none."""
        if not _ID.fullmatch(workspace):
            raise BadRequest(
                "That is not a workspace id.",
                remedy="Use letters, digits, - and _, at most 64.",
                field="workspace",
            )
        base = self._root / workspace
        made = Workspace(workspace, base / "work", base / "config", base / "home")
        for path in (self._root, base, made.work, made.config, made.home):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return made

    def instructions(self, workspace: Workspace) -> str:
        """The workspace's CLAUDE.md, at most `INSTRUCTIONS_LIMIT` bytes of it; empty if none.

        Never follows a link out of the workspace and never blocks on a pipe or a device.
        """
        try:
            handle = os.open(
                workspace.work / INSTRUCTIONS, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except OSError:
            return ""
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return ""
            return file.read(INSTRUCTIONS_LIMIT).decode("utf-8", "replace")
