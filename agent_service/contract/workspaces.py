"""Workspaces from outside: their files, their instructions, how large they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from agent_service.contract.turns import STRICT

UPLOAD_LIMIT = 512 * 1024 * 1024
"""Bytes of one uploaded file."""
INSTRUCTIONS_LIMIT = 64 * 1024
"""Bytes of CLAUDE.md, in UTF-8, that reach the agent."""
SEND_LIMIT = 64 * 1024 * 1024
"""Bytes of a file that the agent can send to a person."""
LIST_LIMIT = 1000
"""Entries of one listing; `next` leads on."""
DEPTH_LIMIT = 64
"""Folders a path may lead through. What lies deeper is the agent's alone."""


def size_in_words(size: int) -> str:
    """Such as `12 kB`: decimal, as people's own systems mostly count."""
    if size < 1000:
        return f"{size} B"
    for unit, one in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if size < one * 1000 or unit == "GB":
            number = size / one
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    raise AssertionError(size)


FileKind: TypeAlias = Literal["file", "folder", "link", "other"]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a workspace. `path` is relative to the workspace and has no `.` or `..`.

    Characters that are no text stand as U+FFFD; such a file can be listed and exported only.
    """

    path: str
    kind: FileKind
    size: int
    modified: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class FileList:
    """A folder, or all below it, by name. Links are listed and never followed."""

    path: str
    entries: tuple[FileEntry, ...]
    next: str | None = None
    """There is more: ask again with this as `after`. None: this was all."""


@dataclass(frozen=True, slots=True)
class Instructions:
    """A workspace's CLAUDE.md: what its agent is told besides each prompt."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    text: str


@dataclass(frozen=True, slots=True)
class WorkspaceView:
    """A workspace as it stands."""

    workspace: str
    made_at: float
    """Seconds since 1970."""
    size: int
    """Bytes on disk, of its files and of its sessions; a file with two names counts twice."""
    files: int
    """Files that are the agent's work."""
    complete: bool
    """False where some could not be counted: deeper than `DEPTH_LIMIT`, or not readable."""


@dataclass(frozen=True, slots=True)
class Reset:
    """What `POST …/reset` takes. Everything goes, CLAUDE.md too unless it is asked for."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    keep_instructions: bool = False


@dataclass(frozen=True, slots=True)
class WorkspaceRemoved:
    """A workspace that is no more. `existed` is False where there was none."""

    workspace: str
    existed: bool
