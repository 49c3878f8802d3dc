"""Tell whoever started this process that it is ready, in the way of sd_notify(3)."""

from __future__ import annotations

import os
import socket


def ready(address: str | None) -> None:
    """Send `READY=1` to `address` (the value of NOTIFY_SOCKET); nothing where nobody listens."""
    if not address:
        return
    if address.startswith("@"):  # systemd's abstract sockets
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(b"READY=1", os.fsencode(address))
        except OSError:
            return  # whoever asked to be told is gone
