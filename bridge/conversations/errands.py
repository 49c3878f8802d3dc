"""What a command has done in a workspace once it is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from adapters.contract import FileOut
from agent_service.contract import FileEntry


class Files(Protocol):
    """What these commands ask of the agent service. Each raises `ServiceError`."""

    async def download(self, workspace: str, path: str, most: int) -> bytes: ...

    async def newest(self, workspace: str, folder: str, most: int) -> list[FileEntry]: ...

    async def remove(self, workspace: str, path: str) -> FileEntry: ...

    async def instructions(self, workspace: str) -> str: ...

    async def instruct(self, workspace: str, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Told:
    """What the sender reads, and the file that goes with it."""

    text: str
    file: FileOut | None = None


Errand: TypeAlias = Callable[[Files, int], Awaitable[Told]]
"""What is left to do with the workspace once the command is stored; a file that goes with the
answer may have so many bytes."""
