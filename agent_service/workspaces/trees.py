"""Whole trees that somebody hostile made: walked with few descriptors, removed at any depth."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from agent_service.contract.workspaces import DEPTH_LIMIT
from agent_service.workspaces.beneath import FOLDER, Parts

_PASSES = 100
"""Looks at a folder until it is empty; one is enough where nobody writes to it meanwhile."""


@dataclass(frozen=True, slots=True)
class Found:
    """`within` is a descriptor of its folder, good until the walk goes on."""

    parts: Parts
    info: os.stat_result
    within: int


class _Level:
    """A folder on the way down, and how far it was read."""

    def __init__(self, handle: int, parts: Parts) -> None:
        self.handle, self.parts = handle, parts
        try:
            self.entries = os.scandir(handle)
        except OSError:
            os.close(handle)
            raise

    def close(self) -> None:
        self.entries.close()
        os.close(self.handle)


def walk(top: int, left_out: Callable[[Parts, str], None]) -> Iterator[Found]:
    """All below `top`, folders before what is in them. Follows nothing.

    `left_out` hears of each folder that was not entered, and why.
    """
    levels = [_Level(os.dup(top), ())]
    try:
        while levels:
            level = levels[-1]
            found = next(level.entries, None)
            if found is None:
                levels.pop().close()
                continue
            try:
                info = os.stat(found.name, dir_fd=level.handle, follow_symlinks=False)
            except OSError:
                continue  # gone since
            parts = (*level.parts, found.name)
            yield Found(parts, info, level.handle)
            if not stat.S_ISDIR(info.st_mode):
                continue
            if len(levels) >= DEPTH_LIMIT:
                left_out(parts, f"deeper than {DEPTH_LIMIT} folders")
                continue
            try:
                levels.append(_Level(os.open(found.name, FOLDER, dir_fd=level.handle), parts))
            except OSError as error:
                left_out(parts, os.strerror(error.errno or 0))
    finally:
        for level in levels:
            level.close()


@dataclass(frozen=True, slots=True)
class Extent:
    size: int
    files: int
    complete: bool


def extent(top: int) -> Extent:
    """Bytes on disk and number of files below `top`."""
    missed: list[Parts] = []
    size = files = 0
    for found in walk(top, lambda parts, _: missed.append(parts)):
        size += found.info.st_blocks * 512
        files += not stat.S_ISDIR(found.info.st_mode)
    return Extent(size, files, not missed)


def remove(holder: Path, name: str, stopped: Callable[[], bool] = lambda: False) -> bool:
    """Remove `name` from `holder`, a folder that is ours alone, with all that is below it.

    Any depth and any modes: what lies deeper is first moved up into `holder`, so that a few
    descriptors and no recursion are enough. False where it was `stopped` before the end; what
    is left then lies in `holder`. Raises `OSError`.
    """
    top = os.open(holder, FOLDER)
    try:
        pending, number = [name], itertools.count()
        while pending:
            if stopped():
                return False
            current = pending.pop()
            if _is_folder(top, current):
                pending += _emptied(top, current, (f"{name}.{n}" for n in number))
    finally:
        os.close(top)
    return True


def take_out(folder: Path, name: str, holder: Path) -> None:
    """Remove `name` from a folder that others write to, with all that is below it, by way of
    `holder`, which is ours alone and on the same disk. Raises `OSError`."""
    with ExitStack() as stack:
        above, top = os.open(folder, FOLDER), os.open(holder, FOLDER)
        stack.callback(os.close, above)
        stack.callback(os.close, top)
        if not _is_folder(above, name):
            return
        os.rename(name, name, src_dir_fd=above, dst_dir_fd=top)
    remove(holder, name)


def clear(folder: Path, holder: Path, keep: frozenset[str] = frozenset()) -> None:
    """Empty a folder, but for regular files in it that are called as in `keep`.

    What was below its folders lies in `holder`, which is ours alone and was empty, afterwards.
    """
    with ExitStack() as stack:
        above, top = os.open(folder.parent, FOLDER), os.open(holder, FOLDER)
        stack.callback(os.close, above)
        stack.callback(os.close, top)
        if not _is_folder(above, folder.name):
            return
        inner = os.open(folder.name, FOLDER, dir_fd=above)
        stack.callback(os.close, inner)
        _move_out(inner, top, (f"{folder.name}.{n}" for n in itertools.count()), keep)


def _emptied(top: int, current: str, names: Iterator[str]) -> list[str]:
    """Remove a folder in `top`; the folders that were in it lie beside it now, under `names`."""
    moved: list[str] = []
    inner = os.open(current, FOLDER, dir_fd=top)
    try:
        for _ in range(_PASSES):
            moved += _move_out(inner, top, names)
            try:
                os.rmdir(current, dir_fd=top)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
            else:
                return moved
    finally:
        os.close(inner)
    raise OSError(errno.ENOTEMPTY, "somebody keeps writing to it")


def _move_out(
    inner: int, top: int, names: Iterator[str], keep: frozenset[str] = frozenset()
) -> list[str]:
    """Remove the files in `inner`, and move its folders into `top`; gives their names there."""
    moved: list[str] = []
    with os.scandir(inner) as entries:
        for found in entries:
            if found.name in keep and found.is_file(follow_symlinks=False):
                continue
            if not found.is_dir(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    os.unlink(found.name, dir_fd=inner)
            elif _is_folder(inner, found.name):
                moved.append(next(names))
                os.rename(found.name, moved[-1], src_dir_fd=inner, dst_dir_fd=top)
    return moved


def _is_folder(holder: int, name: str) -> bool:
    """Whether it is a folder, which then can be opened and moved; anything else is removed."""
    try:
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=holder)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(name, dir_fd=holder)
        return False
    try:
        if os.fstat(handle).st_mode & 0o700 != 0o700:
            # By descriptor, so that no link can be put in its place; O_PATH needs no right to it.
            Path(f"/proc/self/fd/{handle}").chmod(0o700)
    finally:
        os.close(handle)
    return True
