"""What the broker adds to one streamed answer."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import aiohttp

from agent_service.broker.broker import Broker
from agent_service.broker.prices import PriceTable
from agent_service.broker.purses import Purses
from agent_service.broker.rules import Rules
from agent_service.broker.tokens import Grant
from agent_service.credentials.keyring import Key
from agent_service.testing import ScriptedMessages
from benchmarks.report import Ratio

BODY = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 1000,
    "stream": True,
    "messages": [{"role": "user", "content": "slow 4 " + " ".join(["word"] * 400)}],
}


async def _nothing(_conversation: str) -> float:
    return 0.0


async def _no_one(_person: str | None, _since: float) -> float:
    return 0.0


async def measure(pairs: int) -> list[Ratio]:
    """Interleaved pairs of the same answer, with and without the broker in between."""
    ratio = Ratio("Broker: a streamed answer of 4 s", 1.02)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with ScriptedMessages() as model:
            key = Key("bench", model.url, "bench")
            broker = Broker(
                lambda _who: key,
                Rules(),
                PriceTable(),
                lambda _answered: None,
                _nothing,
                Purses(_no_one),
            )
            gate = await broker.open(Grant("bench", "c", "w"), Path(folder) / "model.sock")
            through = aiohttp.UnixConnector(str(gate.socket))
            for _ in range(pairs):
                a = await _answer(aiohttp.TCPConnector(), model.url, "bench")
                b = await _answer(through, "http://model", gate.token.secret)
                ratio.add(a, b)
            await broker.close()
            await through.close()
    return [ratio]


async def _answer(connector: aiohttp.BaseConnector, url: str, key: str) -> float:
    """Seconds until the whole answer was there."""
    async with aiohttp.ClientSession(connector=connector, connector_owner=False) as http:
        started = time.perf_counter()
        headers = {"x-api-key": key}
        async with http.post(f"{url}/v1/messages", json=BODY, headers=headers) as answer:
            async for _ in answer.content.iter_any():
                pass
        return time.perf_counter() - started
