"""Files beneath a folder that somebody hostile writes to while we look.

Every step opens one name relative to a descriptor that is held, and never follows a link. So
whatever is swapped between two steps, nothing outside is read, written or removed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from agent_service.contract.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    Overloaded,
    ServiceError,
    StorageFull,
)
from agent_service.contract.workspaces import DEPTH_LIMIT, FileEntry, FileKind

PATH_LIMIT = 4096
"""Bytes of a path."""
NAME_LIMIT = 255
"""Bytes of a name in it."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_BLOCK = 1024 * 1024
Parts = tuple[str, ...]


def parts_of(path: str) -> Parts:
    """The names of a relative path; none for "". Raises `BadRequest` for any other kind."""
    if not path:
        return ()
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        raise _bad("It holds what is no character.") from None
    if b"\0" in raw:
        raise _bad("It holds a NUL.")
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") for part in parts):
        raise _bad("It is not a plain path from the workspace's own folder.")
    if len(raw) > PATH_LIMIT or any(len(part.encode()) > NAME_LIMIT for part in parts):
        raise _bad("It is too long.")
    if len(parts) > DEPTH_LIMIT:
        raise _bad(f"It leads through more than {DEPTH_LIMIT} folders.")
    return parts


def _bad(why: str) -> BadRequest:
    return BadRequest(
        f"That is no path of a file in a workspace. {why}",
        remedy="Use a path like reports/may.txt, without a / in front and without . or ..",
        field="path",
    )


def outside(path: str) -> BadRequest:
    """Refuses a place to go on from that is not in the folder that is listed."""
    return BadRequest(
        f"after: not in {path}.", remedy="Give the `next` of the page before.", field="after"
    )


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """A descriptor of a folder of our own. Raises `NotFound` and the like."""
    try:
        handle = os.open(folder, FOLDER)
    except OSError as error:
        raise refusal(error, "its folder") from None
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def folder(top: int, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder that `parts` lead to from `top`; `make` makes what is missing."""
    handle = os.dup(top)
    try:
        for depth, name in enumerate(parts, 1):
            try:
                inner = _step(handle, name, make=make)
            except OSError as error:
                raise refusal(error, "/".join(parts[:depth])) from None
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def _step(handle: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=handle)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=handle)
    # Whoever was quicker, and whatever it is by now: this is as careful as above.
    return os.open(name, FOLDER, dir_fd=handle)


def open_file(top: int, parts: Sequence[str]) -> tuple[int, os.stat_result]:
    """A regular file for reading; the caller closes it. Never waits, whatever lies there."""
    if not parts:
        raise _not_a_file("The workspace")
    shown = "/".join(parts)
    with folder(top, parts[:-1]) as parent:
        try:
            return regular(parent, parts[-1])
        except IsADirectoryError:
            raise _not_a_file(shown) from None
        except OSError as error:
            raise refusal(error, shown) from None


def regular(parent: int, name: str) -> tuple[int, os.stat_result]:
    """The same in a folder that is held. Raises `OSError`; EISDIR where it is no regular file."""
    handle = os.open(name, FILE, dir_fd=parent)
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode):
        os.close(handle)
        raise IsADirectoryError(errno.EISDIR, "not a regular file")
    return handle, info


def _not_a_file(shown: str) -> BadRequest:
    return BadRequest(f"{shown} is not a file.", field="path")


def place(top: int, parts: Sequence[str], source: Path, *, fresh: bool = False) -> FileEntry:
    """Move a finished file of ours to where `parts` say, making the folders on the way.

    At once or not at all. It replaces a file or a link there (never what a link points to), and
    no folder: then it raises `Conflict`. `fresh` replaces nothing: where the same file is, that
    stays, and where anything else is, it raises `Conflict` with `taken`.
    """
    if not parts:
        raise _not_a_file("The workspace")
    shown = "/".join(parts)
    with folder(top, parts[:-1], make=True) as parent:
        try:
            if not fresh:
                os.rename(source, parts[-1], dst_dir_fd=parent)
            elif not _linked(parent, parts[-1], source):
                raise Conflict(
                    f"There is another file at {shown}.", remedy="Choose another name.", taken=True
                )
            info = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            raise refusal(error, shown) from None
    return entry(shown, info)


def _linked(parent: int, name: str, source: Path) -> bool:
    """False where something else than the same file is. Raises `OSError`."""
    try:
        os.link(source, name, dst_dir_fd=parent)
    except FileExistsError:
        try:
            handle, info = regular(parent, name)
        except OSError:
            return False
        with open(handle, "rb") as there, source.open("rb") as given:  # noqa: PTH123 - it is one
            if info.st_size != os.fstat(given.fileno()).st_size:
                return False
            while (block := given.read(_BLOCK)) == there.read(_BLOCK):
                if not block:
                    return True
            return False
    return True


def remove(top: int, parts: Sequence[str]) -> FileEntry:
    """Remove a file, a link (not what it points to) or an empty folder; gives what it was."""
    if not parts:
        raise _not_a_file("The workspace")
    shown = "/".join(parts)
    with folder(top, parts[:-1]) as parent:
        try:
            info = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                os.rmdir(parts[-1], dir_fd=parent)
            else:
                os.unlink(parts[-1], dir_fd=parent)
        except OSError as error:
            raise refusal(error, shown) from None
    return entry(shown, info)


def kind(info: os.stat_result) -> FileKind:
    if stat.S_ISREG(info.st_mode):
        return "file"
    if stat.S_ISDIR(info.st_mode):
        return "folder"
    return "link" if stat.S_ISLNK(info.st_mode) else "other"


def entry(path: str, info: os.stat_result) -> FileEntry:
    return FileEntry(shown(path), kind(info), info.st_size, info.st_mtime)


def shown(name: str) -> str:
    """A name as text: bytes that are none stand as U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


_FULL = {errno.ENOSPC, errno.EDQUOT}


def refusal(error: OSError, path: str) -> ServiceError:
    """What an error of the file system means to whoever named the path."""
    code = error.errno
    if code == errno.ENOENT:
        return NotFound(f"There is no {path} in this workspace.", field="path")
    if code in (errno.ENOTDIR, errno.ELOOP):
        return BadRequest(
            f"{path} is a link, or not what its path needs it to be. Links are not followed.",
            remedy="Name the file itself.",
            field="path",
        )
    if code in (errno.EISDIR, errno.EEXIST):
        return Conflict(
            f"{path} is a folder.", remedy="Choose another name for the file.", field="path"
        )
    if code == errno.ENOTEMPTY:
        return Conflict(
            f"The folder {path} is not empty.",
            remedy="Remove what is in it first, or ask the agent to.",
            field="path",
        )
    if code in (errno.EACCES, errno.EPERM):
        return Forbidden(
            f"The permissions of {path} do not allow it.",
            remedy="Ask the agent to change them.",
            field="path",
        )
    if code in _FULL:
        return StorageFull(
            "There is no room on the agent service's disk.",
            remedy="An operator has to free space, then send it again.",
        )
    if code in (errno.EMFILE, errno.ENFILE):
        return Overloaded("Too many files are open.", remedy="Try again in a moment.")
    if code == errno.ENAMETOOLONG:
        return _bad("It is too long.")
    if code in (errno.ENXIO, errno.ENODEV):
        return _not_a_file(path)
    return ServiceError(
        f"The file system failed at {path}: {os.strerror(code or 0)}.",
        remedy="An operator has to look at the disk.",
    )
