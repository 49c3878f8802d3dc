"""Lists a folder by name, a page at a time, in memory that does not grow with the folder."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterator

from agent_service.contract.workspaces import DEPTH_LIMIT, LIST_LIMIT, FileEntry, FileList
from agent_service.workspaces import beneath, trees
from agent_service.workspaces.beneath import FOLDER, Parts

_LEFT_OUT = frozenset({"node_modules", "__pycache__"})


def page(
    top: int, parts: Parts, *, recursive: bool, after: Parts, limit: int = LIST_LIMIT
) -> FileList:
    """The entries behind `after` (a path as it was shown), in order; `recursive` shows each
    folder's own entries after it. Folders that cannot be read are shown and not entered."""
    path = "/".join(parts)
    if after and after[: len(parts)] != parts:
        raise beneath.outside(path)
    entries: list[FileEntry] = []
    with beneath.folder(top, parts) as handle:
        depth = DEPTH_LIMIT - len(parts) if recursive else 1
        for entry in _below(handle, parts, after[len(parts) :], limit + 1, depth):
            if len(entries) == limit:
                return FileList(path, tuple(entries), next=entries[-1].path)
            entries.append(entry)
    return FileList(path, tuple(entries))


def newest(top: int, parts: Parts, most: int) -> FileList:
    """The files below a folder that were changed last, those first. Hidden ones, and what lies in
    hidden folders or in those that tools fill by themselves, are left out."""
    found: list[FileEntry] = []
    path = "/".join(parts)
    with beneath.folder(top, parts) as handle:
        entries = (
            beneath.entry("/".join((*parts, *one.parts)), one.info)
            for one in trees.walk(handle, lambda _parts, _why: None)
            if stat.S_ISREG(one.info.st_mode) and not _LEFT_OUT.intersection(one.parts)
            if not any(name.startswith(".") for name in one.parts)
        )
        found = heapq.nlargest(most, entries, key=lambda entry: (entry.modified, entry.path))
    return FileList(path, tuple(found))


def _below(handle: int, prefix: Parts, after: Parts, room: int, depth: int) -> Iterator[FileEntry]:
    if depth <= 0:
        return
    for name, raw in _names(handle, after[0] if after else "", room + 1):
        seen = bool(after) and name == after[0]
        try:
            info = os.stat(raw, dir_fd=handle, follow_symlinks=False)
        except OSError:
            continue  # gone since
        if not seen:
            yield beneath.entry("/".join((*prefix, name)), info)
        if depth == 1 or not stat.S_ISDIR(info.st_mode):
            continue
        try:
            inner = os.open(raw, FOLDER, dir_fd=handle)
        except OSError:
            continue
        try:
            rest = after[1:] if seen else ()
            yield from _below(inner, (*prefix, name), rest, room, depth - 1)
        finally:
            os.close(inner)


def _names(handle: int, first: str, most: int) -> list[tuple[str, str]]:
    """The first names from `first` on, as shown and as they are."""
    with os.scandir(handle) as found:
        pairs = ((beneath.shown(entry.name), entry.name) for entry in found)
        return heapq.nsmallest(most, (pair for pair in pairs if pair[0] >= first))
