"""The socket that terminals connect to."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from adapters.contract import SetupInvalid

LONGEST_PATH = 106
"""Bytes: the kernel takes 107, and one is needed while the socket is being made."""


def check_path(path: Path) -> None:
    """Raises `SetupInvalid` for a path that no socket can have."""
    size = len(os.fsencode(path))
    if size > LONGEST_PATH:
        raise SetupInvalid(
            f"The path of the console's socket has {size} bytes, {LONGEST_PATH} are possible: "
            f"{path}.",
            fields=("BASCULE_HOME",),
            remedy="Move the deployment's home to a shorter path.",
        )


def listen(path: Path) -> socket.socket:
    """A listening socket that only its owner may connect to; a stale one is replaced.

    Raises `SetupInvalid` where another process serves it, or the place cannot be written.
    """
    if _is_served(path):
        raise SetupInvalid(
            f"Another process already serves {path}.",
            remedy="Stop the other bridge on this home first.",
        )
    made = path.with_name(path.name + "~")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.unlink(missing_ok=True)
        server.bind(str(made))
        # Nobody can connect before the mode is right and the name is there.
        made.chmod(0o600)
        server.listen(64)
        made.rename(path)
    except OSError as error:
        server.close()
        raise SetupInvalid(
            f"The console's socket {path} cannot be made ({os.strerror(error.errno or 0)}).",
            fields=("BASCULE_HOME",),
            remedy="Give the bridge's user that directory.",
        ) from None
    return server


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError as error:
            return error.errno == errno.EAGAIN
        return True
