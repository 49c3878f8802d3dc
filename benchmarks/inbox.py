"""The durable inbox on both databases: `python -m benchmarks.inbox` prints its rows alone.

How many messages a second, how fast they are acknowledged, alone and beside 50 answers that
stream, what an idle bridge takes, and what it takes with many known conversations.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
import sqlalchemy as sa

from adapters.contract import Address, MessageIn
from agent_service.settings import AgentSettings
from agent_service.testing.scripted_service import scripted_service
from benchmarks.house import OWNER, DoNothing
from benchmarks.report import Figure, Ratio
from bridge import log
from bridge.engine.inbox import Inbox
from bridge.home import prepare
from bridge.service import Bridge
from bridge.settings import BridgeSettings
from bridge.store.dialects import database_at
from bridge.store.migrate import migrate
from bridge.store.schema import conversation, person
from tests.bridge.platforms import plugin
from tests.bridge.postgres import Postgres, running_postgres
from tests.bridge.town import Town

SENDERS = 50
MESSAGES = 400
STREAMS = 50
IDLE_SECONDS = 10.0
KNOWN = (0, 10_000, 100_000)
_numbers = itertools.count(1)


def _said(text: str, channel: str) -> MessageIn:
    number = next(_numbers)
    at = Address("nothing", "bench", channel, direct=True)
    return MessageIn((f"k{number}",), at, OWNER, text, number, datetime.now(UTC))


async def measure(rounds: int) -> list[Ratio | Figure]:
    """SQLite, then PostgreSQL, each with what is bare beside it in the same run."""
    rows: list[Ratio | Figure] = []
    with running_postgres("fsync=on") as server:
        for name in ("SQLite", "PostgreSQL"):
            with _place(name, server) as (home, url):
                rows.append(await _rate(name, home, url, rounds))
            with _place(name, server) as (home, url):
                rows += await _acknowledged(name, home, url)
            rows += await _idle(name, server)
    return rows


@contextmanager
def _place(name: str, server: Postgres) -> Iterator[tuple[Path, str]]:
    home = Path(tempfile.mkdtemp(prefix="bench-"))
    prepare(home)
    try:
        if name == "SQLite":
            yield home, f"sqlite:///{home / 'bridge' / 'bridge.db'}"
        else:
            with server.database() as url:
                yield home, url
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _bare_commits(home: Path, url: str) -> float:
    """Seconds that one commit of one row takes, synced, in a loop of them."""
    insert = "INSERT INTO bare (text) VALUES ('say hello')"
    if url.startswith("sqlite"):
        lite = sqlite3.connect(home / "bare.db", isolation_level=None)
        lite.execute("PRAGMA journal_mode=WAL")
        lite.execute("PRAGMA synchronous=FULL")
        lite.execute("CREATE TABLE IF NOT EXISTS bare (id INTEGER PRIMARY KEY, text TEXT)")
        started = time.perf_counter()
        for _ in range(MESSAGES):
            lite.execute(insert)
        took = time.perf_counter() - started
        lite.close()
        return took / MESSAGES
    with psycopg.connect(url, autocommit=True) as con:
        con.execute("CREATE TABLE IF NOT EXISTS bare (id BIGSERIAL PRIMARY KEY, text TEXT)")
        started = time.perf_counter()
        for _ in range(MESSAGES):
            con.execute(insert)
        return (time.perf_counter() - started) / MESSAGES


async def _rate(name: str, home: Path, url: str, rounds: int) -> Ratio:
    """Time a message, so the smaller the better."""
    ratio = Ratio(f"{name}: a durable message beside a bare commit", 4.0)
    migrate(url)
    db = database_at(url)
    await db.open()
    inbox = Inbox(db, "bench", ["nothing"], 60)

    async def sender(channel: str) -> None:
        for _ in range(MESSAGES // SENDERS):
            await db.tx(inbox.submit, _said("say hello", channel), "", False)

    await sender("warm")
    for number in range(rounds):
        bare = await asyncio.to_thread(_bare_commits, home, url)
        started = time.perf_counter()
        await asyncio.gather(*(sender(f"r{number}.{one}") for one in range(SENDERS)))
        ratio.add(bare, (time.perf_counter() - started) / MESSAGES)
    await db.close()
    return ratio


@asynccontextmanager
async def _house(home: Path, url: str) -> AsyncIterator[tuple[Bridge, DoNothing]]:
    settings = AgentSettings(_env_file=None, bascule_home=home)  # type: ignore[call-arg]
    agent = scripted_service(settings)
    await agent.start()
    adapter = DoNothing()
    bridge = Bridge(
        BridgeSettings(
            _env_file=None,  # type: ignore[call-arg]
            bascule_home=home,
            bridge_adapters="nothing",
            bridge_listen="off",
            bridge_database_url=url,
            bridge_concurrency=4 * STREAMS,
            bridge_person_concurrency=4 * STREAMS,
        ),
        given=[plugin(adapter)],
    )
    await bridge.start()
    try:
        yield bridge, adapter
    finally:
        await bridge.stop()
        await agent.stop()


async def _acknowledged(name: str, home: Path, url: str) -> list[Figure]:
    async with _house(home, url) as (bridge, adapter):
        await bridge.host.submit(_said("say warm", "warm"))
        first = []
        for number in range(60):
            adapter.expect()
            started = time.perf_counter()
            await bridge.host.submit(_said("say hello", f"f{number}"))
            await adapter.first.wait()
            first.append(adapter.first_at - started)
            await adapter.over.wait()
        alone = await _submits(bridge, "a")
        words = " ".join(["word"] * 300)
        for number in range(STREAMS):
            await bridge.host.submit(_said(f"slow 60 {words}", f"s{number}"))
        await asyncio.sleep(2)
        beside = await _submits(bridge, "b")
    return [
        Figure(f"{name}: submit to first word, scripted session, p50 / p99", _shown(first), "",
               True, len(first)),
        Figure(f"{name}: acknowledgement, p50 / p99", _shown(alone), "", True, len(alone)),
        Figure(f"{name}: acknowledgement beside {STREAMS} answers that stream, p50 / p99",
               _shown(beside), "", True, len(beside)),
    ]  # fmt: skip


async def _submits(bridge: Bridge, prefix: str) -> list[float]:
    times = []
    for number in range(200):
        started = time.perf_counter()
        await bridge.host.submit(_said("say hello", f"{prefix}{number}"))
        times.append(time.perf_counter() - started)
        await asyncio.sleep(0.02)
    return times


def _shown(times: list[float]) -> str:
    ordered = sorted(times)
    p99 = ordered[int(len(ordered) * 0.99)]
    return f"{statistics.median(ordered) * 1000:.1f} / {p99 * 1000:.1f} ms"


async def _idle(name: str, server: Postgres) -> list[Figure]:
    figures = []
    for known in KNOWN:
        with _place(name, server) as (home, url):
            migrate(url)
            _fill(url, known)
            town = Town(home, url)
            await town.start_agent()
            await town.start_bridge()
            await town.say("c1", "say hello", 1)
            await town.posts.shows("c1", "hello")
            assert town.bridge is not None
            process = psutil.Process(town.bridge.pid)
            before = sum(process.cpu_times()[:2])
            await asyncio.sleep(IDLE_SECONDS)
            used = (sum(process.cpu_times()[:2]) - before) / IDLE_SECONDS
            memory = process.memory_full_info().uss / 1024**2
            await town.stop()
        shown = f"{used * 100:.1f} % of a core, {memory:.0f} MiB"
        figures.append(Figure(f"{name}: an idle bridge with {known:,} known conversations", shown,
                              "", True, 1))  # fmt: skip
    return figures


def _fill(url: str, known: int) -> None:
    rows = [
        {
            "id": f"c_{number}", "platform": "memory", "tenant": "t", "channel": f"k{number}",
            "thread": "", "direct": True, "title": "A conversation", "owner": "p_known",
            "agent_conversation": f"a_{number}", "last_active": time.time(), "pending": 0,
            "ready_at": 1.0, "fence": 1, "lease_until": 0.0,
        }
        for number in range(known)
    ]  # fmt: skip
    owner = {"id": "p_known", "name": "Known", "role": "member", "workspace": "w_known",
             "created_at": 1.0}  # fmt: skip
    with database_at(url).maintenance(alone=True) as connection:
        connection.execute(sa.insert(person), [owner])
        for start in range(0, known, 1000):
            connection.execute(sa.insert(conversation), rows[start : start + 1000])


def main() -> None:
    log.configure("human", "warning")
    for row in asyncio.run(measure(5)):
        print(row.row)


if __name__ == "__main__":
    main()
