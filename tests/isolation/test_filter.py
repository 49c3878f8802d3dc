"""The filter of system calls, run by hand: also for processors that no test runs on."""

from __future__ import annotations

import struct

import pytest

from agent_service.sandbox.calls import NoFilter, filter_program

ALLOWED, NO_CALL, DENIED, NO_FAMILY, NO_MEMORY = 0x7FFF0000, 0x50026, 0x50001, 0x50061, 0x5000C
KILLED = 0x80000000
MACHINES = {
    "x86_64": (0xC000003E, {"read": 0, "socket": 41, "ioctl": 16, "shmget": 29, "keyctl": 250}),
    "aarch64": (0xC00000B7, {"read": 63, "socket": 198, "ioctl": 29, "shmget": 194, "keyctl": 219}),
}


def answer(program: bytes, machine: int, number: int, *arguments: int) -> int:
    """What the filter says to a call."""
    data = struct.pack("<IIQ6Q", number, machine, 0, *(*arguments, *(0,) * 6)[:6])
    lines = list(struct.iter_unpack("<HBBI", program))
    at = loaded = 0
    while True:
        code, where, where_not, value = lines[at]
        at += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            (loaded,) = struct.unpack_from("<I", data, value)
            continue
        holds = {0x15: loaded == value, 0x25: loaded > value, 0x35: loaded >= value}[code]
        at += where if holds else where_not


@pytest.mark.parametrize("name", MACHINES)
def test_it_refuses_what_it_should(name: str) -> None:
    """Each kind of rule, in its plain case and beside it."""
    program = filter_program(name)
    machine, calls = MACHINES[name]

    def told(call: str, *arguments: int) -> int:
        return answer(program, machine, calls[call], *arguments)

    assert told("read") == ALLOWED
    assert told("keyctl") == NO_CALL
    assert [told("socket", family) for family in (1, 2, 10, 16)] == [ALLOWED] * 4
    assert [told("socket", family) for family in (17, 29, 38, 40)] == [NO_FAMILY] * 4
    assert told("ioctl", 0, 0x5413) == ALLOWED
    assert told("ioctl", 0, 0x5412) == DENIED
    assert told("ioctl", 0, 0x1_0000_5412) == DENIED
    assert told("shmget", 1, 56) == ALLOWED
    assert told("shmget", 1, 1 << 20) == NO_MEMORY
    assert told("shmget", 1, 1 << 32) == NO_MEMORY
    assert answer(program, 0x40000003, 4) == KILLED
    assert answer(program, machine, 0x40000000 + 39) == NO_CALL


def test_an_unknown_processor_has_none() -> None:
    """Where the numbers of the calls are not known there is no filter, and so no sandbox."""
    with pytest.raises(NoFilter, match="riscv64"):
        filter_program("riscv64")
