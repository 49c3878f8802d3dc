"""The measure of all things: a bare `ClaudeSDKClient` on the same model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, StreamEvent


def options(work: Path, model_url: str) -> ClaudeAgentOptions:
    """Nothing but what it takes to reach the scripted model without the user's own settings."""
    work.mkdir(parents=True, exist_ok=True)
    return ClaudeAgentOptions(
        cwd=work,
        env={
            "ANTHROPIC_BASE_URL": model_url,
            "ANTHROPIC_API_KEY": "bench",
            "CLAUDE_CONFIG_DIR": str(work.parent / "config"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
        setting_sources=[],
        include_partial_messages=True,
    )


async def first_word(client: ClaudeSDKClient, text: str) -> float:
    """Seconds from the query to the first word. Returns when all is said."""
    started = time.perf_counter()
    first = 0.0
    await client.query(text)
    async for message in client.receive_response():
        if first or not isinstance(message, StreamEvent):
            continue
        if message.event.get("delta", {}).get("type") == "text_delta":
            first = time.perf_counter() - started
    return first


@contextlib.asynccontextmanager
async def connected(work: Path, model_url: str, **more: str) -> AsyncIterator[ClaudeSDKClient]:
    """A connected client; `more` are options such as `session_id` or `resume`."""
    client = ClaudeSDKClient(replace(options(work, model_url), **more))  # type: ignore[arg-type]
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


async def new_session(work: Path, model_url: str, text: str, **more: str) -> float:
    """Seconds to connect and have the first word; `more` as for `connected`."""
    started = time.perf_counter()
    async with connected(work, model_url, **more) as client:
        connecting = time.perf_counter() - started
        return connecting + await first_word(client, text)


def memory() -> int:
    """Bytes that the processes of bare clients hold for themselves."""
    mine = [p for p in psutil.Process().children() if "claude" in p.name()]
    return sum(process.memory_full_info().uss for process in mine)
