"""Server-Sent Events as the agent service sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator

LONGEST_EVENT = 64 * 1024 * 1024


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, str]]:
    """(id, data) of each event; comments and events without an id or data are heartbeats.

    Raises ValueError for an event that is too long to be one of ours.
    """
    rest = bytearray()
    number, data = 0, list[str]()
    async for chunk in chunks:
        start = max(len(rest) - 1, 0)
        rest += chunk
        if rest.find(b"\n", start) < 0:
            if len(rest) > LONGEST_EVENT:
                raise ValueError("an event of the agent service is too long")
            continue
        *lines, tail = rest.split(b"\n")
        rest = bytearray(tail)
        for raw in lines:
            line = raw.removesuffix(b"\r").decode()
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif line.startswith("id:") and line[3:].strip().isdecimal():
                number = int(line[3:])
            elif not line:
                if data and number:
                    yield number, "\n".join(data)
                number, data = 0, []
