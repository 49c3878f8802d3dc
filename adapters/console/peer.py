"""Who is at the other end of a Unix socket: the kernel says so, nobody can claim it."""

from __future__ import annotations

import pwd
import socket
import struct
from collections.abc import Callable
from typing import TypeAlias

from adapters.contract import Identity, Sender

_UCRED = struct.Struct("3i")
UidOf: TypeAlias = Callable[[socket.socket], int]


def uid_of(connection: socket.socket) -> int:
    """The user id the peer had when it connected."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(raw)
    return int(uid)


def sender(uid: int, owner_uid: int) -> Sender:
    """The person behind a user id; the owner of the deployment's home is its operator."""
    try:
        entry = pwd.getpwuid(uid)
        name = entry.pw_gecos.partition(",")[0].strip() or entry.pw_name
    except KeyError:
        name = f"user {uid}"
    return Sender(Identity("console", "local", str(uid)), name, host_owner=uid == owner_uid)
