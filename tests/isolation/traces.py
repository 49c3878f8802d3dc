"""Where secrets stand: in all that a service wrote, in whatever form they were written down."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kept:
    """A place that holds some secrets by design, and why. `place` is a pattern of paths."""

    place: str
    secrets: frozenset[str]
    why: str


@dataclass(frozen=True, slots=True)
class Trace:
    """A secret, by name, that stands somewhere."""

    place: str
    secret: str


def forms(secret: str) -> set[bytes]:
    """How a secret may be written down: plainly, in hexadecimal, or in base64, wherever in the
    encoded text it begins."""
    raw = secret.encode()
    found = {raw, raw.hex().encode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        # Only the characters that what stands before and behind it does not change.
        found.add(encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6])
    return found


def files(folders: Iterable[Path]) -> dict[str, bytes]:
    """Every file below some folders, hidden ones and databases' logs too, by path. Links are not
    followed; what ends meanwhile is left out."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            try:
                if stat.S_ISREG(path.lstat().st_mode):
                    found[os.fspath(path)] = path.read_bytes()
            except FileNotFoundError:
                continue
    return found


def cores(paths: Iterable[Path]) -> list[Path]:
    """Those that are core files, by their beginning or their names."""
    found = []
    for path in paths:
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            with path.open("rb") as file:
                head = file.read(18)
        except OSError:
            continue
        elf_core = head[:4] == b"\x7fELF" and head[16:18] in (b"\x04\0", b"\0\x04")
        if elf_core or path.name == "core" or path.name.startswith(("core.", "vgcore")):
            found.append(path)
    return found


def traces(texts: Mapping[str, bytes], secrets: Mapping[str, str]) -> set[Trace]:
    """Every secret in every text."""
    wanted = {name: forms(secret) for name, secret in secrets.items()}
    return {
        Trace(place, name)
        for place, text in texts.items()
        for name, all_forms in wanted.items()
        if any(form in text for form in all_forms)
    }


def unexplained(found: Iterable[Trace], kept: Iterable[Kept]) -> set[Trace]:
    """Those that no place holds by design."""
    return {
        trace
        for trace in found
        if not any(fnmatchcase(trace.place, k.place) and trace.secret in k.secrets for k in kept)
    }


def idle(found: Iterable[Trace], kept: Iterable[Kept]) -> list[Kept]:
    """Places that hold nothing of what they are excused for: no excuse is kept for later."""
    traces = list(found)
    return [
        k
        for k in kept
        if not any(fnmatchcase(t.place, k.place) and t.secret in k.secrets for t in traces)
    ]
