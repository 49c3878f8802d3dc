"""A tree as a tar stream: regular files, folders and links as links; nothing else."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Generator, Iterator

from agent_service.workspaces import beneath, trees
from agent_service.workspaces.trees import Found

CHUNK = 256 * 1024
"""Bytes of one step, or a little more."""
LEFT_OUT = ".bascule-left-out.txt"
"""Is added where something could not be exported, and says what and why."""
_LEFT_OUT_LINES = 1000
_BLOCK = tarfile.BLOCKSIZE


class _LeftOut:
    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more = 0

    def __call__(self, parts: beneath.Parts, why: str) -> None:
        if len(self._lines) < _LEFT_OUT_LINES:
            self._lines.append(f"{beneath.shown('/'.join(parts))}: {why}")
        else:
            self._more += 1

    def text(self) -> bytes:
        lines = [*self._lines, *([f"and {self._more} more"] if self._more else [])]
        return "".join(line + "\n" for line in lines).encode()


def tar(top: int) -> Generator[bytes]:
    """The stream, in pieces. A file that changes meanwhile is exported with the size it had.

    Each step may block on the disk. `top` must stay open until it is closed or at its end.
    """
    out = bytearray()
    left_out = _LeftOut()
    for found in trees.walk(top, left_out):
        for piece in _member(found, left_out):
            out += piece
            if len(out) >= CHUNK:
                yield bytes(out)
                out.clear()
    if text := left_out.text():
        info = tarfile.TarInfo(LEFT_OUT)
        info.size = len(text)
        out += _header(info) + text + _padding(len(text))
    yield bytes(out) + bytes(2 * _BLOCK)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _member(found: Found, left_out: _LeftOut) -> Iterator[bytes]:
    info = tarfile.TarInfo("/".join(found.parts))
    # No setuid bit leaves the workspace, and no name or number of a user of this machine.
    info.mode = stat.S_IMODE(found.info.st_mode) & 0o777
    info.mtime = int(found.info.st_mtime)
    if stat.S_ISDIR(found.info.st_mode):
        info.type = tarfile.DIRTYPE
        yield _header(info)
    elif stat.S_ISLNK(found.info.st_mode):
        try:
            info.linkname = os.readlink(found.parts[-1], dir_fd=found.within)
        except OSError:
            return  # gone since, or something else now
        info.type = tarfile.SYMTYPE
        yield _header(info)
    elif stat.S_ISREG(found.info.st_mode):
        try:
            handle, now = beneath.regular(found.within, found.parts[-1])
        except FileNotFoundError:
            return
        except OSError as error:
            left_out(found.parts, os.strerror(error.errno or 0))
            return
        with io.FileIO(handle) as file:
            info.size = now.st_size
            yield _header(info)
            yield from _content(file, now.st_size)
    else:
        left_out(found.parts, "not a file, a folder or a link")


def _content(file: io.FileIO, size: int) -> Iterator[bytes]:
    left = size
    while left > 0:
        piece = file.read(min(left, CHUNK))
        if not piece:  # it shrank: what follows must still be where the header says
            piece = bytes(min(left, CHUNK))
        left -= len(piece)
        yield piece
    yield _padding(size)
