"""The system calls that a box is refused: the kernel's doors that no namespace closes.

Keyrings know users and not boxes, so that one session could leave words for the next; vsock leads
out of a virtual machine past every network namespace; memory that belongs to no process is counted
by nobody. The others are doors that ordinary work does not use and that attacks on the kernel
begin with.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterator

# Numbers on x86_64 and aarch64; from 424 on they are the same everywhere.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_by_handle_at": (304, 265),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "acct": (163, 89),
    "swapon": (167, 224),
    "reboot": (169, 142),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
}
_MACHINES = {"x86_64": (0, 0xC000003E, 41, 16, 29), "aarch64": (1, 0xC00000B7, 198, 29, 194)}
"""Column above, the kernel's name of the machine; `socket`, `ioctl` and `shmget`."""
_FAMILIES = (1, 2, 10, 16)
"""Unix, IPv4, IPv6 and netlink: what sockets may be made of."""
_IOCTLS = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX type into a terminal."""
_SEGMENT = 64 * 1024
"""Bytes of shared memory of System V in one piece (a database asks for 56)."""
_OTHER_TABLE = 0x40000000
"""x86_64 has a second set of numbers for the same calls."""

_LOAD, _EQUALS, _ABOVE, _AT_LEAST, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
_NUMBER, _MACHINE, _FIRST, _SECOND = 0, 4, 16, 24
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOMEM, _ENOSYS, _NO_SUCH_FAMILY = 1, 12, 38, 97


class NoFilter(Exception):
    """There is no filter for this kind of processor."""


def filter_program(machine: str | None = None) -> bytes:
    """The filter as bubblewrap takes it. Raises `NoFilter`."""
    known = _MACHINES.get(machine or platform.machine())
    if known is None:
        raise NoFilter(f"There is no filter of system calls for {machine or platform.machine()}.")
    return b"".join(struct.pack("<HBBI", *line) for line in _lines(*known))


def _lines(
    column: int, name: int, socket: int, ioctl: int, shmget: int
) -> Iterator[tuple[int, int, int, int]]:
    """Instructions: what to do, lines to skip where it holds and where not, a value."""
    yield _LOAD, 0, 0, _MACHINE
    yield _EQUALS, 1, 0, name
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER
    yield _AT_LEAST, 0, 1, _OTHER_TABLE
    yield _RETURN, 0, 0, _ERROR | _ENOSYS
    for numbers in _CALLS.values():
        if (number := numbers[column]) is not None:
            yield _EQUALS, 0, 1, number
            # "No such call", so that programs do without it.
            yield _RETURN, 0, 0, _ERROR | _ENOSYS
    yield _EQUALS, 0, 3 + len(_FAMILIES), socket
    yield _LOAD, 0, 0, _FIRST
    for before, family in enumerate(_FAMILIES):
        yield _EQUALS, len(_FAMILIES) - before, 0, family
    yield _RETURN, 0, 0, _ERROR | _NO_SUCH_FAMILY
    yield _RETURN, 0, 0, _ALLOW
    yield _EQUALS, 0, 1 + 2 * len(_IOCTLS) + 1, ioctl
    yield _LOAD, 0, 0, _SECOND
    for request in _IOCTLS:
        yield _EQUALS, 0, 1, request
        yield _RETURN, 0, 0, _ERROR | _EPERM
    yield _RETURN, 0, 0, _ALLOW
    yield _EQUALS, 1, 0, shmget
    yield _RETURN, 0, 0, _ALLOW
    yield _LOAD, 0, 0, _SECOND + 4
    yield _EQUALS, 0, 2, 0
    yield _LOAD, 0, 0, _SECOND
    yield _ABOVE, 0, 1, _SEGMENT
    yield _RETURN, 0, 0, _ERROR | _ENOMEM
    yield _RETURN, 0, 0, _ALLOW
