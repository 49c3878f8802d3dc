"""The lists of workspaces, over the API; and the connections, in the audit log."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from structlog.testing import capture_logs
from yarl import URL

from agent_service.broker.broker import Answered
from agent_service.broker.ledger import Ledger
from agent_service.broker.meter import Tokens
from agent_service.broker.tokens import Grant, SessionToken
from agent_service.contract.egress import HOSTS_LIMIT
from agent_service.egress.journal import BURST, Journal
from agent_service.egress.proxy import Attempt
from agent_service.store import audit, usage
from agent_service.store.database import Database
from tests.agent_service.agent import Caller, ScriptedAgent, Turn


class Door:
    """The API of a service that allows one host everywhere."""

    def __init__(self, home: Path) -> None:
        self.agent = ScriptedAgent(home, agent_egress="Everywhere.example, *.cdn.example:8443")

    async def start(self) -> None:
        await self.agent.start()
        self.callers = {
            "bridge": self.agent.caller,
            "admin": Caller(self.agent.home, "admin"),
        }

    async def stop(self) -> None:
        await self.callers["admin"].http.close()
        await self.agent.stop()

    async def call(
        self,
        method: str,
        pattern: str | None = None,
        *,
        by: str = "",
        caller: str = "bridge",
        workspace: str = "w1",
    ) -> tuple[int, Any]:
        path = URL(f"/v1/workspaces/{workspace}/egress")
        if pattern is not None:
            path = path.with_query({"pattern": pattern, **({"by": by} if by else {})})
        return await self.callers[caller].call(method, str(path))

    async def patterns(self, workspace: str = "w1") -> list[str]:
        status, answer = await self.call("GET", workspace=workspace)
        assert status == 200, answer
        return [host["pattern"] for host in answer["hosts"]]

    async def audited(self) -> list[tuple[str, str, str]]:
        _, page = await self.callers["admin"].call("GET", "/v1/audit")
        return [(e["kind"], e["actor"], e["detail"].get("host", "")) for e in page
                if e["kind"].startswith("egress.")]  # fmt: skip


@pytest_asyncio.fixture
async def door(home: Path) -> AsyncIterator[Door]:
    made = Door(home)
    await made.start()
    yield made
    await made.stop()


async def test_a_workspace_has_a_list_of_its_own(door: Door) -> None:
    """Each entry tells who added it and when; the deployment's list stands beside; the same again
    changes nothing; each change is audited once."""
    await door.agent.deciders("p1", "p2")
    await door.agent.deciders("p1", workspace="w2")
    status, first = await door.call("PUT", "Git.Example.", by="p1")
    assert status == 200
    assert first["deployment"] == ["everywhere.example", "*.cdn.example:8443"]
    assert [(h["pattern"], h["by"]) for h in first["hosts"]] == [("git.example", "bridge:p1")]
    assert (await door.call("PUT", "git.example:443", by="p2"))[1] == first
    await door.call("PUT", "*.wild.example:8443", caller="admin", by="Ida")
    assert await door.patterns() == ["*.wild.example:8443", "git.example"]
    assert await door.call("PUT", "other.example", by="p1", workspace="w2") is not None
    assert await door.patterns("w2") == ["other.example"]
    for _ in range(2):
        status, left = await door.call("DELETE", "git.example", by="p1")
        assert (status, [h["pattern"] for h in left["hosts"]]) == (200, ["*.wild.example:8443"])
    assert await door.audited() == [
        ("egress.host_allowed", "bridge:p1", "git.example"),
        ("egress.host_allowed", "admin:Ida", "*.wild.example:8443"),
        ("egress.host_allowed", "bridge:p1", "other.example"),
        ("egress.host_removed", "bridge:p1", "git.example"),
    ]


async def test_a_list_outlives_the_service_and_ends_with_its_workspace(door: Door) -> None:
    """It holds after a restart and a reset; a later workspace of the same id begins with none."""
    await door.call("PUT", "git.example", by="p1")
    await door.stop()
    await door.start()
    status, _ = await door.agent.caller.call("POST", "/v1/workspaces/w1/reset", {})
    assert status == 200
    assert await door.patterns() == ["git.example"]
    status, _ = await door.agent.caller.call("DELETE", "/v1/workspaces/w1")
    assert status == 200
    assert (await door.call("GET"))[0] == 404
    assert (await door.call("PUT", "b.example", by="p1"))[0] == 403
    await door.agent.deciders("p1")
    await door.call("PUT", "b.example", by="p1")
    assert await door.patterns() == ["b.example"]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "not a host"),
        ("*.org", "top-level domain"),
        ("a*.example.org", "beginning"),
        ("https://example.org", "port"),
        ("example.org:0", "port"),
        ("0x7f.1", "not a host"),
        ("e" * 301, "300"),
        ("[fe80::1%x]", "not a host"),
    ],
)
async def test_what_is_no_pattern_is_told(door: Door, pattern: str, says: str) -> None:
    """In words that say what is wrong, and nothing is stored."""
    status, answer = await door.call("PUT", pattern, by="p1")
    assert status == 400
    assert answer["error"]["field"] == "pattern"
    assert says in answer["error"]["message"]
    assert (await door.call("GET"))[0] == 404


async def test_who_may_change_a_list_says_for_whom(door: Door) -> None:
    """The bridge names a person, by id; without one it is refused."""
    for by in ("", "Ida Lovelace", "../x"):
        status, answer = await door.call("PUT", "git.example", by=by)
        assert (status, answer["error"]["field"]) == (400, "by")
    assert (await door.call("DELETE", "git.example", by="p1"))[0] == 404
    assert (await door.call("PUT", "git.example", caller="admin"))[0] == 200
    assert (await door.call("PUT", "git.example", caller="admin", by="\u202e"))[0] == 400


async def test_a_thread_is_not_flooded_with_questions_about_hosts(door: Door) -> None:
    """A turn asks about three hosts at most and tells of the others; what was denied in a
    conversation is not asked there again for a day, in another one it is."""
    await door.agent.deciders("p1")
    script = "\n".join(f"fetch https://h{number}.example/" for number in range(5))

    async def whole(script: str, conversation: str = "c1") -> Turn:
        turn = await door.agent.allow_all(script, conversation=conversation)
        return Turn(turn.id, await door.agent.caller.events(turn.id))

    turn = await whole(script)
    asked = {d["shown"]: d for d in turn.asked if d["kind"] == "network"}
    told = [e["host"] for e in turn.events if e["kind"] == "egress.refused"]
    assert list(asked) == ["h0.example:443", "h1.example:443", "h2.example:443"]
    assert told == ["h3.example", "h4.example"]
    denied = asked["h0.example:443"]
    status, _ = await door.agent.caller.call(
        "POST",
        f"/v1/turns/{turn.id}/decisions/{denied['id']}",
        {"outcome": "deny", "decided_by": "p1"},
    )
    assert status == 200

    async def asks(conversation: str) -> bool:
        turn = await whole("fetch https://h0.example/", conversation)
        assert turn.last["outcome"] == "completed"
        return "h0.example:443" in [d["shown"] for d in turn.asked]

    assert not await asks("c1")
    assert await asks("c-other")
    with contextlib.closing(sqlite3.connect(door.agent.home / "agent" / "agent.db")) as database:
        database.execute("UPDATE decision SET resolved_at = resolved_at - 90000")
        database.commit()
    assert await asks("c1")


async def test_a_list_has_an_end(door: Door) -> None:
    """A workspace of too many hosts is told what to do, and keeps those it has."""
    for number in range(HOSTS_LIMIT):
        assert (await door.call("PUT", f"h{number}.example", by="p1"))[0] == 200
    status, answer = await door.call("PUT", "more.example", by="p1")
    assert (status, answer["error"]["code"]) == (409, "conflict")
    assert "*.example.org" in answer["error"]["remedy"]
    assert (await door.call("PUT", "h1.example", by="p1"))[0] == 200
    assert len(await door.patterns()) == HOSTS_LIMIT


# ---- the audit log ----


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


TOKEN = SessionToken.mint(Grant("s1", "c1", "w1"))
GOOD = Attempt("good.example", 443, allowed=True, address="203.0.113.1")
ANSWERED = Answered(TOKEN.grant, "t1", "p1", "k1", "claude-x", Tokens(1, output=1), 0.5)
BAD = Attempt("bad.example", 443, allowed=False, reason="not_listed")


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(tmp_path / "agent.db")
    await made.open()
    yield made
    await made.close()


async def entries(database: Database) -> list[tuple[str, str, int]]:
    page = await database.tx(audit.page, 0)
    return [(e.kind, e.subject, e.detail["count"]) for e in page]


async def until(database: Database, count: int) -> list[tuple[str, str, int]]:
    async with asyncio.timeout(5):
        while len(found := await entries(database)) < count:
            await asyncio.sleep(0.02)
    return found


async def test_connections_are_written_soon_and_many_at_once(database: Database) -> None:
    """The first of each kind appears at once; those of one moment share a transaction."""
    journal = Journal(database)
    journal.add(TOKEN, GOOD)
    journal.add(TOKEN, BAD)
    assert await until(database, 2) == [
        ("egress.connected", "good.example", 1),
        ("egress.refused", "bad.example", 1),
    ]
    await journal.close()
    assert (await database.tx(audit.verify)).problem == ""


async def test_a_loop_becomes_one_entry_with_its_count(database: Database) -> None:
    """A thousand repeats cost one more entry; each turn and each host is told apart."""
    clock = Clock()
    journal = Journal(database, clock=clock)
    token = SessionToken.mint(Grant("s1", "c1", "w1"))
    token.turn, token.person = "t1", "p1"
    for _ in range(1001):
        journal.add(token, BAD)
    token.turn = "t2"
    journal.add(token, BAD)
    await until(database, 2)
    clock.now += 61
    journal.add(token, GOOD)  # anything wakes it
    found = await until(database, 4)
    assert sorted(found) == [
        ("egress.connected", "good.example", 1),
        ("egress.refused", "bad.example", 1),
        ("egress.refused", "bad.example", 1),
        ("egress.refused", "bad.example", 1000),
    ]
    await journal.close()
    page = await database.tx(audit.page, 0)
    (folded,) = [e for e in page if e.detail["count"] == 1000]
    assert (folded.detail["turn"], folded.detail["person"]) == ("t1", "p1")
    assert folded.detail["since"] == 1_000_000


async def test_ever_new_hosts_do_not_fill_the_disk(database: Database) -> None:
    """Beyond its measure a workspace's hosts are counted in one entry; nothing goes uncounted, and
    what was connected is not drowned by what was refused."""
    clock = Clock()
    journal = Journal(database, clock=clock)
    tried = 20_000
    for number in range(tried):
        journal.add(TOKEN, Attempt(f"h{number}.example", 443, allowed=False, reason="not_listed"))
        clock.now += 0.001
    journal.add(TOKEN, GOOD)
    other = SessionToken.mint(Grant("s2", "c2", "w2"))
    journal.add(other, BAD)
    await journal.close()
    page = await database.tx(audit.page, 0)
    refused = [e for e in page if e.kind == "egress.refused" and e.actor == "workspace:w1"]
    assert len(refused) <= BURST + 4
    assert sum(e.detail["count"] for e in refused) == tried
    over = refused[-1].detail
    assert over["over_the_measure"][0].endswith(".example:443")
    assert len(over["over_the_measure"]) == 20
    assert ("egress.connected", "good.example", 1) in await entries(database)
    assert ("egress.refused", "bad.example", 1) in await entries(database)


NO_GROWTH = "PRAGMA max_page_count = 1"


def no_growth(connection: Any, _record: object) -> None:
    connection.execute(NO_GROWTH)


async def test_a_full_disk_is_told_and_what_was_tried_is_kept(
    database: Database, request: pytest.FixtureRequest
) -> None:
    """Connections go on, the log says what could not be written, and it is written afterwards."""
    journal = Journal(database)
    # Real SQLite says that it is full when it may not grow.
    await database.tx(lambda db: db.exec_driver_sql(NO_GROWTH))
    sa.event.listen(sa.Engine, "connect", no_growth)
    request.addfinalizer(
        lambda: (
            sa.event.contains(sa.Engine, "connect", no_growth)
            and sa.event.remove(sa.Engine, "connect", no_growth)
        )
    )
    tried = 0
    with capture_logs() as logs:
        async with asyncio.timeout(10):
            while not any(line["event"] == "egress.unwritten" for line in logs):
                token = SessionToken.mint(Grant(f"s{tried}", "c1", f"w{tried}"))
                journal.add(token, replace(BAD, host="h" * 250))
                tried += 1
                await asyncio.sleep(0.002)
    sa.event.remove(sa.Engine, "connect", no_growth)
    await database.tx(lambda db: db.exec_driver_sql("PRAGMA max_page_count = 1000000"))
    await journal.close()
    found: list[Any] = []
    while page := await database.tx(audit.page, len(found)):
        found += page
    assert len(found) == tried


@pytest.mark.parametrize("kind", ["journal", "ledger"])
async def test_a_stop_writes_nothing_twice(database: Database, tmp_path: Path, kind: str) -> None:
    """Also while the rows are just being written, and their transaction waits for its turn."""
    journal, ledger = Journal(database), Ledger(database)
    blocker = sqlite3.connect(tmp_path / "agent.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    if kind == "journal":
        journal.add(TOKEN, GOOD)
    else:
        ledger.add(ANSWERED)
    await asyncio.sleep(0.3)
    closing = asyncio.create_task((journal if kind == "journal" else ledger).close())
    await asyncio.sleep(0.3)
    blocker.execute("ROLLBACK")
    blocker.close()
    await closing
    await asyncio.gather(journal.close(), ledger.close())
    found = await entries(database), await database.tx(usage.lines, 0)
    assert [sum(count for *_, count in found[0]), sum(line.answers for line in found[1])] == (
        [1, 0] if kind == "journal" else [0, 1]
    )


async def test_a_database_that_fails_does_not_keep_the_service_from_stopping(
    database: Database,
) -> None:
    """What could not be written is told, with its reason; closing goes on. What the ledger holds is
    written once it can be."""
    journal, ledger = Journal(database), Ledger(database)
    for table in ("audit", "usage"):
        await database.tx(lambda db, t=table: db.exec_driver_sql(f"ALTER TABLE {t} RENAME TO x{t}"))
    with capture_logs() as logs:
        journal.add(TOKEN, GOOD)
        ledger.add(ANSWERED)
        async with asyncio.timeout(10):
            while {line["event"] for line in logs} < {"egress.unwritten", "usage.unwritten"}:
                await asyncio.sleep(0.02)
        await journal.close()
        await database.tx(lambda db: db.exec_driver_sql("ALTER TABLE xusage RENAME TO usage"))
        await ledger.close()
    assert "egress.lost" in {line["event"] for line in logs}
    assert [line.answers for line in await database.tx(usage.lines, 0)] == [1]
    assert await database.tx(usage.spent, "c1") == 0.5


async def test_what_is_left_is_written_at_the_end(database: Database) -> None:
    """A stop loses no count, also of repeats whose minute is not over."""
    journal = Journal(database)
    for _ in range(5):
        journal.add(TOKEN, GOOD)
    await journal.close()
    assert sum(count for _, _, count in await entries(database)) == 5
