"""A folder of ours beside the workspaces, on the same file system, that no agent sees.

What is made here is moved into place in one step, and what is removed is moved here first. So a
crash leaves nothing half made, and what it leaves here the next start removes.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import structlog

from agent_service.workspaces import trees

_log = structlog.get_logger(__name__)

NAME = ".stage"
"""No workspace can be called so."""


class Stage:
    """One a service; each start has a part of its own, and removes those of the starts before."""

    def __init__(self, root: Path) -> None:
        self._all = root / NAME
        self._own = self._all / secrets.token_hex(8)
        self._number = itertools.count()

    def new(self) -> Path:
        """A path in it where nothing is."""
        for folder in (self._all.parent, self._all, self._own):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._own / f"s{next(self._number)}"

    def take(self, path: Path) -> Path | None:
        """Move something out of its place; None where there was nothing. Raises `OSError`."""
        taken = self.new()
        try:
            path.rename(taken)
        except FileNotFoundError:
            return None
        return taken

    def remove(self, path: Path, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Remove what lies in the stage, whatever it is. Never raises: the next start goes on
        with what could not be removed. False where something is left."""
        try:
            return trees.remove(path.parent, path.name, stopped)
        except OSError as error:
            _log.warning(
                "workspace.not_removed", path=str(path), reason=os.strerror(error.errno or 0)
            )
            return False

    def sweep(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Remove what earlier starts left. Call it while no other service uses this folder."""
        try:
            left = [p for p in self._all.iterdir() if p.name != self._own.name]
        except FileNotFoundError:
            return
        for path in left:
            self.remove(path, stopped)
