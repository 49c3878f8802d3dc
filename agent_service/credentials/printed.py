"""What the CLI prints during `auth login`: the page to open, then how it went."""

from __future__ import annotations

import asyncio
import re

from agent_service.contract.errors import Unavailable
from agent_service.contract.redaction import hide_text

PAGE_SECONDS = 30
HOSTS = ("claude.ai", "claude.com", "platform.claude.com", "console.anthropic.com")
"""Where the CLI sends people to sign in. No other page is handed to anybody."""
_URL = re.compile(rb"https://(?:" + b"|".join(re.escape(h.encode()) for h in HOSTS) + rb")/[!-~]*")


async def page(process: asyncio.subprocess.Process) -> str:
    """The address that the CLI prints, of a page of `HOSTS`. Raises `Unavailable`."""
    assert process.stdout is not None  # noqa: S101 - it was started with a pipe
    printed = b""
    try:
        async with asyncio.timeout(PAGE_SECONDS):
            while part := await process.stdout.read(4096):
                printed += part
                # Whole only once something follows it.
                found = _URL.search(printed)
                if found and found.end() < len(printed):
                    return found.group().decode("ascii")
    except (TimeoutError, UnicodeDecodeError):
        pass
    words = ""
    if process.stderr is not None and process.stdout.at_eof():
        words = hide_text((await process.stderr.read(2000)).decode(errors="replace")).strip()
    raise Unavailable(
        f"The Claude CLI gave no page to sign in on. {words[:300]}".strip(),
        remedy="An operator should check AGENT_CLAUDE_CLI and the network, by `bascule doctor`.",
    )


async def lines(stream: asyncio.StreamReader, said: list[str]) -> None:
    """Keep the last lines of a stream in `said`, until it ends."""
    while raw := await stream.read(4096):
        for line in raw.decode(errors="replace").splitlines():
            # The prompt has no end of line of its own.
            text = line.rpartition("prompted >")[2].strip()
            if text:
                said.append(hide_text(text)[:500])
        del said[:-20]


def last(said: list[str]) -> str:
    """The newest line, or nothing."""
    return said[-1] if said else ""
