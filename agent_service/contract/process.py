"""How a program of a deployment lives: it says when it is ready, and dies with who started it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket

_PR_SET_PDEATHSIG = 1


def end_with(supervisor: str) -> None:
    """SIGTERM when the process of this id dies, however it dies. Exits where it is dead already.

    Call it in the main thread, of a process that `supervisor` started itself.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if str(os.getppid()) != supervisor:  # it died before we asked to be told
        raise SystemExit(0)


def ready(address: str | None) -> None:
    """Send `READY=1` to `address`, the value of NOTIFY_SOCKET, in the way of sd_notify(3); nothing
    where nobody listens."""
    if not address:
        return
    if address.startswith("@"):  # systemd's abstract sockets
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(b"READY=1", os.fsencode(address))
        except OSError:
            return  # whoever asked to be told is gone
