"""The deployment's home: what `bascule up` makes on its first run, and the lock that it holds."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY_FILES = ("bridge.keys", "admin.keys", "links.keys")
"""One list of signing keys a caller, and one for the sign-in links of the web admin."""
SOCKET_PATH_LIMIT = 107
"""Bytes of a Unix socket's path on Linux."""
LONGEST_SOCKET = "run/s/0123456789/egress.sock"


class HomeUnusable(Exception):
    """The text says what is wrong with the home and what to do."""


def look(home: Path) -> None:
    """Whether `prepare` would succeed. Changes nothing. Raises `HomeUnusable`."""
    _fits(home)
    with _refusals(home):
        if not home.exists():
            there = next(path for path in home.parents if path.exists())
            if not os.access(there, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "", os.fspath(there))
            return
        for folder in (home, home / "run", home / "secrets"):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "", os.fspath(folder))
            if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "", os.fspath(folder))
        _owned(home)


def prepare(home: Path) -> None:
    """Make what is missing: the folders (0700) and the signing keys (0600). Keeps what is there.

    Raises `HomeUnusable`.
    """
    _fits(home)
    with _refusals(home):
        for folder in (home, home / "run", home / "secrets"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _owned(home)
        for name in KEY_FILES:
            _make_key(home / "secrets" / name)


def _fits(home: Path) -> None:
    room = SOCKET_PATH_LIMIT - len(LONGEST_SOCKET) - 1
    if len(os.fsencode(home)) > room:
        raise HomeUnusable(
            f"BASCULE_HOME is too long for Unix sockets: {home}. Choose one of at most {room} "
            "characters."
        )


@contextmanager
def _refusals(home: Path) -> Iterator[None]:
    """What the system refuses, in words."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise HomeUnusable(
            f"BASCULE_HOME: {error.filename or home} cannot be used ({why}). Choose another one, "
            "or run Bascule as the user it belongs to."
        ) from None


def _owned(home: Path) -> None:
    """Who owns the home is the operator, so it must be the user this runs as, and nobody else may
    write there."""
    status = home.stat()
    if status.st_uid != os.geteuid():
        raise HomeUnusable(
            f"BASCULE_HOME: {home} belongs to another user (uid {status.st_uid}). Run Bascule as "
            "that user, or choose another home."
        )
    if status.st_mode & 0o022:
        raise HomeUnusable(f"BASCULE_HOME: other users may write in {home}. Run: chmod go-w {home}")


def _make_key(path: Path) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(48) + "\n")


class HomeLock:
    """One `up` a home. Its processes inherit `fd`, so that it stays taken until the last of them
    is gone, however they end."""

    def __init__(self, home: Path) -> None:
        self._path = home / "run" / "up.lock"
        self.fd = -1

    def take(self) -> bool:
        """False while another one has it. Raises `HomeUnusable`."""
        if self.fd < 0:
            try:
                self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                why = os.strerror(error.errno or 0)
                raise HomeUnusable(f"{self._path} cannot be used: {why}.") from None
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def drop(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
