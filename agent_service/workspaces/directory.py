"""Where a workspace lies on disk, how it comes to be, and how it ends.

Git is initialised in it while it is made, empty and ours. Afterwards the service runs no program
in it: its files are the agent's and may be made to run code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent_service.contract.errors import BadRequest, ServiceError, TooLarge
from agent_service.contract.turns import ID_PATTERN
from agent_service.contract.workspaces import INSTRUCTIONS_LIMIT
from agent_service.workspaces import beneath, trees
from agent_service.workspaces.claims import Claims
from agent_service.workspaces.stage import Stage
from agent_service.workspaces.threads import Threads
from agent_service.workspaces.uploads import Uploads

_log = structlog.get_logger(__name__)

INSTRUCTIONS = "CLAUDE.md"
_ID = re.compile(ID_PATTERN)
_PARTS = ("work", "config", "home")
_SIGN_IN = frozenset({".credentials.json", ".claude.json"})
"""What a reset leaves in `config`: who is signed in is no part of the work."""
_NOTHING: frozenset[str] = frozenset()
_GIT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Workspace:
    """`work` is the agent's; `config` holds its sessions; `home` is what its shells see as HOME."""

    id: str
    work: Path
    config: Path
    home: Path


class Workspaces:
    """All workspaces under one directory, by minted id. Its methods may wait for the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._git = shutil.which("git")
        self.stage = Stage(root)
        self.threads = Threads()
        self.claims = Claims()
        self.uploads = Uploads(self.stage, self.threads)

    def at(self, workspace: str) -> Workspace:
        """Where it lies, made or not. Raises `BadRequest` for an id that is none."""
        if not _ID.fullmatch(workspace):
            raise BadRequest(
                "That is not a workspace id.",
                remedy="Use letters, digits, - and _, at most 64.",
                field="workspace",
            )
        base = self._root / workspace
        return Workspace(workspace, *(base / part for part in _PARTS))

    def ensure(self, workspace: str, instructions: str = "") -> Workspace:
        """The workspace, made if need be: with all that belongs to it, or not at all.

        `instructions` are its CLAUDE.md where it is made now, and nothing where it is there.
        Raises `BadRequest` for an id that is none, `OSError` where the disk does not let it, and
        what `write_instructions` does.
        """
        found = self.at(workspace)
        base = found.work.parent
        data = encoded(instructions)
        if not base.exists():
            made = self.stage.new()
            made.mkdir(mode=0o700)
            for part in _PARTS:
                self._make(made / part, part)
            if data:
                (made / "work" / INSTRUCTIONS).write_bytes(data)
            self._move_in(made, base)
        # Only what was made by hand, or by an older release, can still lack something.
        for part in _PARTS:
            if not (base / part).is_dir():
                made = self.stage.new()
                self._make(made, part)
                self._move_in(made, base / part)
        return found

    def _make(self, folder: Path, part: str) -> None:
        folder.mkdir(mode=0o700)
        if part == "work":
            self._init_git(folder)

    def _move_in(self, made: Path, place: Path) -> None:
        try:
            made.rename(place)
        except OSError:
            # Somebody was quicker, and theirs is as good.
            self.stage.remove(made)
            if not place.is_dir():
                raise

    def _init_git(self, folder: Path) -> None:
        """Git in a folder that is empty and ours, told nothing by anybody's configuration."""
        if self._git is None:
            _log.warning("workspace.no_git", hint="Install git: new workspaces have none.")
            return
        environment = {
            "PATH": os.defpath,
            "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        command = [self._git, "-c", "init.defaultBranch=main", "init", "--quiet", "--template="]
        try:
            subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_GIT_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            reason = getattr(error, "stderr", None) or str(error).encode()
            _log.warning("workspace.no_git", reason=reason[:300].decode("utf-8", "replace"))
            trees.remove(folder, ".git")

    # ---- CLAUDE.md ----

    @staticmethod
    def instructions(workspace: Workspace) -> str:
        """The workspace's CLAUDE.md, at most `INSTRUCTIONS_LIMIT` bytes of it; empty if none.

        Never follows a link out of the workspace and never blocks on a pipe or a device.
        """
        try:
            with beneath.opened(workspace.work) as top:
                handle, _ = beneath.open_file(top, (INSTRUCTIONS,))
        except ServiceError:
            return ""
        with os.fdopen(handle, "rb") as file:
            return file.read(INSTRUCTIONS_LIMIT).decode("utf-8", "replace")

    def write_instructions(self, workspace: Workspace, text: str) -> None:
        """Put another CLAUDE.md there, at once or not at all, whatever file or link was there.

        Raises `TooLarge`, `BadRequest`, `Conflict` (a folder is there), `StorageFull`.
        """
        data = encoded(text)
        made = self.stage.new()
        try:
            made.write_bytes(data)
            with beneath.opened(workspace.work) as top:
                beneath.place(top, (INSTRUCTIONS,), made)
        except OSError as error:
            raise beneath.refusal(error, INSTRUCTIONS) from None
        finally:
            made.unlink(missing_ok=True)

    # ---- ends ----

    def empty(self, workspace: str, *, keep_instructions: bool) -> None:
        """As it was when it was made. Who is signed in stays so. Nobody else may use it now."""
        found = self.ensure(workspace)
        keep = frozenset({INSTRUCTIONS} if keep_instructions else ())
        for folder, kept in ((found.work, keep), (found.config, _SIGN_IN), (found.home, _NOTHING)):
            holder = self.stage.new()
            holder.mkdir(mode=0o700)
            trees.clear(folder, holder, kept)
            self.stage.remove(holder, self._stopping)
        fresh = self.stage.new()
        self._make(fresh, "work")
        with suppress(FileNotFoundError):
            (fresh / ".git").rename(found.work / ".git")
        self.stage.remove(fresh)

    def discard(self, workspace: str) -> Path | None:
        """Take it out of its place, whole and at once; None where there was none.

        What comes back is to be removed from the stage, which may take its time.
        """
        return self.stage.take(self.at(workspace).work.parent)

    def remove(self, taken: Path) -> None:
        self.stage.remove(taken, self._stopping)

    def sweep(self) -> None:
        """Remove what earlier starts of the service left half done."""
        self.stage.sweep(self._stopping)

    def _stopping(self) -> bool:
        return self.threads.stopping


def encoded(instructions: str) -> bytes:
    """CLAUDE.md as a file. Raises `BadRequest`, and `TooLarge` beyond `INSTRUCTIONS_LIMIT`."""
    try:
        data = instructions.encode()
    except UnicodeEncodeError:
        raise BadRequest("text: it holds what is no character.", field="text") from None
    if len(data) > INSTRUCTIONS_LIMIT:
        raise TooLarge(
            f"The instructions have {len(data):,} bytes; {INSTRUCTIONS_LIMIT:,} are possible.",
            remedy="Put the rest into files, and name them.",
            field="text",
        )
    return data
