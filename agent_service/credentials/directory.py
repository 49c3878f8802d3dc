"""One person's own config directory: where the CLI keeps their sign-in.

Their own agents can read and write there, so nothing that lies in it may steer a later session or
sign-in: of what is there, only the sign-in itself counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_service.workspaces import trees

TOKENS = ".credentials.json"
OWN = ".claude.json"
LARGEST = 256 * 1024
_OWN_KEPT = ("oauthAccount", "primaryApiKey", "customApiKeyResponses", "machineID", "userID")
STEERING = ("settings.json", "settings.local.json", "remote-settings.json", "policy-limits.json")
"""Files by which somebody, or an agent, would tell the CLI what to do."""
_STEERING_TOO = (
    "CLAUDE.md", "agents", "commands", "hooks", "output-styles", "plugins", "rules", "skills",
)  # fmt: skip
"""What sessions are told not to read, and is removed all the same."""
SHARED = ("projects", "plans")
"""Folders that a session has from its workspace instead: transcripts belong to the work."""
_SECRET = ("accessToken", "refreshToken", "primaryApiKey")


def clean(config: Path) -> None:
    """Take out what an agent may have put there to steer the CLI. Other sessions of the person may
    be at work there meanwhile. Blocks for as long as it takes. Raises OSError."""
    for name in _STEERING_TOO:
        _remove(config / name)
    own = config / OWN
    try:
        found: Any = json.loads(_read(own))
        kept = {name: found[name] for name in _OWN_KEPT if name in found}
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, RecursionError):
        _remove(own)
        return
    if kept == found:
        return
    # Another session must never find half a file.
    made = config / f".{secrets.token_hex(8)}"
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(kept, file)
    try:
        made.replace(own)
    except OSError:  # a folder is there
        _remove(own)
        made.replace(own)


def ready(config: Path) -> None:
    """Clean, and with the places that a session's box puts other things on."""
    config.mkdir(mode=0o700, parents=True, exist_ok=True)
    clean(config)
    for name in SHARED:
        make_folder(config / name)
    blank(config)


def blank(config: Path) -> tuple[Path, ...]:
    """The places of `STEERING`, with nothing in them: a box puts an empty file on each, which no
    agent can write or replace. Blocks. Raises OSError."""
    places = tuple(config / name for name in STEERING)
    for place in places:
        if not _blank(place):
            _remove(place)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return places


def make_folder(place: Path) -> None:
    """A folder at this place, whatever an agent has put there instead."""
    if place.is_symlink() or not place.is_dir():
        _remove(place)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)


def secrets_of(config: Path) -> list[str]:
    """The tokens and keys of the sign-in, as they are now."""
    found: list[str] = []
    for name in (TOKENS, OWN):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found += _secrets(json.loads(_read(config / name)))
    return found


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _SECRET and isinstance(inner, str):
                yield inner
            else:
                yield from _secrets(inner)


def _read(path: Path) -> bytes:
    """Raises OSError for what is no file of its own, and waits for nothing."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a file")
        return file.read(LARGEST)


def _blank(path: Path) -> bool:
    """Whether nothing stands in it. Such a one is kept: other sessions may have an empty file of
    ours mounted there, and that would go with it."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(found.st_mode) and not found.st_size


def _remove(path: Path) -> None:
    """A file, a link, or a folder of any depth. Raises OSError."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # Set aside where no agent reaches, since somebody may be at work in it.
        holder = Path(tempfile.mkdtemp(prefix=".gone-", dir=path.parent.parent))
        try:
            trees.take_out(path.parent, path.name, holder)
        finally:
            with contextlib.suppress(OSError):
                holder.rmdir()
