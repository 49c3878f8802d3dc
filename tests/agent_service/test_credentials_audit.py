"""The audit log: what was changed, removed or moved is found."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa

from agent_service.store import audit
from agent_service.store.audit import LONGEST, PAGE, AuditUnreadable
from tests.agent_service.credentials_house import House


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as made:
        yield made


async def fill(house: House, count: int = 5) -> None:
    for number in range(count):
        await house.audit.record("test.done", "admin", f"s{number}", {"n": number, "ü": [1, None]})


def tamper(path: Path, *statements: str) -> None:
    """What somebody with the file can do; the triggers do not stop them."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER audit_no_update")
        db.execute("DROP TRIGGER audit_no_delete")
        for statement in statements:
            db.execute(statement)
        db.commit()


async def test_a_whole_chain_is_whole(house: House) -> None:
    """Entries come back as they were recorded, and the check agrees while the service runs."""
    assert audit.verify_file(house.path).entries == 0
    await fill(house)
    entries = await house.audit.page(0)
    assert [e.seq for e in entries] == [1, 2, 3, 4, 5]
    assert entries[2].detail == {"n": 2, "ü": [1, None]}
    verdict = audit.verify_file(house.path)
    assert (verdict.entries, verdict.head, verdict.problem) == (5, entries[-1].hash, "")


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 3", "Entry 3"),
        ("UPDATE audit SET detail = '{}' WHERE seq = 1", "Entry 1"),
        ("UPDATE audit SET at = at + 1 WHERE seq = 4", "Entry 4"),
        ("UPDATE audit SET hash = 'ff' WHERE seq = 5", "Entry 5"),
        ("DELETE FROM audit WHERE seq = 1", "Entry 1"),
        ("DELETE FROM audit WHERE seq = 3", "Entry 3"),
        ("DELETE FROM audit WHERE seq = 5", "Entries 5 to 5"),
        ("DELETE FROM audit", "Entries 1 to 5"),
        ("UPDATE audit SET seq = 9 WHERE seq = 5", "Entry 5"),
        ("UPDATE audit SET actor = 'bsubject', subject = '' WHERE seq = 2", "Entry 2"),
    ],
)
async def test_tampering_is_found(house: House, statement: str, names: str) -> None:
    """The first entry that is not as it was written is named."""
    await fill(house)
    tamper(house.path, statement)
    assert names in audit.verify_file(house.path).problem


async def test_entries_that_changed_places_are_found(house: House) -> None:
    """The same contents in another order are another chain."""
    await fill(house)
    swap = [f"UPDATE audit SET seq = {new} WHERE seq = {old}" for old, new in
            ((2, 99), (3, 2), (99, 3))]  # fmt: skip
    tamper(house.path, *swap)
    assert "Entry 2" in audit.verify_file(house.path).problem


async def test_the_service_itself_cannot_change_it(house: House) -> None:
    """Entries are only added, whatever the code does."""
    await fill(house, 1)
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
        with pytest.raises(sa.exc.IntegrityError, match="only added to"):
            await house.database.tx(lambda db, s=statement: db.exec_driver_sql(s))
    assert audit.verify_file(house.path).problem == ""


async def test_what_is_recorded_has_limits_and_no_secret(house: House) -> None:
    """Long, odd and secret words do no harm; pages are whole."""
    await house.audit.record("k", "a" * 9000, "\ud800 sk-ant-api03-CANARYCANARY", {
        "api_key": "CANARY-by-name", "text": "sk-ant-api03-CANARYCANARY", "long": "x" * 100_000,
    })  # fmt: skip
    (entry,) = await house.audit.page(0)
    assert len(entry.actor) == LONGEST
    assert "CANARY" not in str(entry)
    await fill(house, PAGE + 5)
    first = await house.audit.page(0)
    second = await house.audit.page(first[-1].seq)
    assert (len(first), len(second)) == (PAGE, 6)
    assert audit.verify_file(house.path).problem == ""


def verify(home: Path) -> subprocess.CompletedProcess[str]:
    script = "from bridge.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, "audit", "verify"],
        env={"PATH": os.environ["PATH"], "BASCULE_HOME": str(home)},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def test_the_command_tells(house: House, tmp_path: Path) -> None:
    """`bascule audit verify`: 0 and the newest hash, or 1 and where it is broken, or 2."""
    await fill(house)
    good = verify(tmp_path)
    head = (await house.audit.page(0))[-1].hash
    assert (good.returncode, head in good.stdout) == (0, True), good.stderr
    tamper(house.path, "DELETE FROM audit WHERE seq = 2")
    bad = verify(tmp_path)
    assert bad.returncode == 1
    assert "Entry 2 is missing" in bad.stderr
    nothing = verify(tmp_path / "elsewhere")
    assert nothing.returncode == 2
    assert "BASCULE_HOME" in nothing.stderr


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """Words and a remedy, no traceback."""
    file = tmp_path / "agent.db"
    file.write_bytes(b"nothing" * 1000)
    with pytest.raises(AuditUnreadable, match="cannot be read") as refused:
        audit.verify_file(file)
    assert refused.value.remedy
