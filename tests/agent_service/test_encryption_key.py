"""The key of what is stored, where it comes from the environment and not from a file."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from agent_service.credentials.vault import Vault
from agent_service.settings import AgentSettings, SettingsInvalid, load
from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Caller
from tests.agent_service.process import ProcessAgent
from tests.deployment import command
from tests.isolation import traces

STORED = "canary-stored-key-of-a-team"
OLD, NEW = f"canary-old-{'0a1b2c3d' * 4}", f"canary-new-{'4e5f6a7b' * 4}"


class Sealed(ProcessAgent):
    """A service that has its encryption keys from its environment."""

    def __init__(self, home: Path, model: ScriptedMessages, *keys: str) -> None:
        super().__init__(home, model, agent_encryption_keys=" , ".join(keys), log_level="debug")

    async def asked(self, method: str, path: str, body: object = None) -> object:
        admin = Caller(self.home, "admin")
        status, answer = await admin.call(method, path, body)
        await admin.http.close()
        assert status == 200, answer
        return answer


@pytest_asyncio.fixture
async def sealed(home: Path, model: ScriptedMessages) -> AsyncIterator[Sealed]:
    made = Sealed(home, model, OLD)
    await made.start()
    new = {"kind": "api_key", "secret": STORED, "url": model.url, "label": "team"}
    await made.asked("POST", "/v1/credentials", new)
    yield made
    await made.stop()
    await made.no_sessions()


async def test_it_reaches_nobody_else(sealed: Sealed) -> None:
    """Not a session, nor any process that the service starts, nor a file, an event or the log;
    and no file of keys is made."""
    await sealed.until_running(await sealed.put("slow 2 word word word"))
    seen = 0
    for child in psutil.Process(sealed.process.pid).children(recursive=True):
        seen += 1
        assert OLD not in str(child.environ())
    assert seen
    turn = await sealed.turn("bash env; cat /proc/*/environ; cat /proc/*/cmdline; true")
    turn = await sealed.decided(turn, "allow")
    texts = traces.files([sealed.home]) | {"events": json.dumps(turn.events).encode()}
    assert any(place.endswith("service.log") for place in texts)
    assert traces.traces(texts, {"key": OLD, "stored": STORED}) == set()
    assert not (sealed.home / "secrets" / "encryption.keys").exists()


async def test_it_opens_what_it_sealed_and_is_rotated(
    sealed: Sealed, model: ScriptedMessages
) -> None:
    """After a restart the stored key serves; a newer key beside it seals it anew, and then opens
    it alone."""
    for keys in ((OLD, NEW), (NEW,)):
        await sealed.stop()
        again = Sealed(sealed.home, model, *keys)
        await again.start()
        try:
            assert (await again.turn(f"say by {len(keys)}")).text == f"by {len(keys)}"
            assert model.requests[-1].headers["x-api-key"] == STORED
            with sqlite3.connect(sealed.home / "agent" / "agent.db") as database:
                ((owner, text),) = database.execute(
                    "select id, sealed from credential where sealed is not null"
                ).fetchall()
            assert Vault([keys[-1]]).open(text, owner=owner) == STORED
        finally:
            await again.stop()


@pytest.mark.parametrize(
    "wrong",
    ["", " , ", "short", f"{OLD},short", f"{OLD} {NEW}", f"{OLD}\n{NEW}", f"{OLD}ü", "x" * 31],
)
def test_what_is_no_key_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """By the setting's name, and without what was given."""
    monkeypatch.chdir("/")
    monkeypatch.setenv("AGENT_ENCRYPTION_KEYS", wrong)
    with pytest.raises(SettingsInvalid) as refused:
        load()
    assert str(refused.value).startswith("AGENT_ENCRYPTION_KEYS: ")
    assert "canary" not in str(refused.value)


async def test_two_places_for_it_are_refused(home: Path) -> None:
    """Nobody has to guess which one counts: neither `config` nor the service takes both."""
    both = {"AGENT_ENCRYPTION_KEYS": OLD, "AGENT_ENCRYPTION_KEYS_FILE": str(home / "keys")}
    for words in ("config", "agent"):
        code, out, err = await command(words, home=home, **both)
        assert code == 2
        assert "AGENT_ENCRYPTION_KEYS and AGENT_ENCRYPTION_KEYS_FILE are both set" in err
        assert OLD not in out + err


async def test_commands_neither_show_it_nor_hand_it_on(home: Path) -> None:
    """`config` masks it, and the CLI and the bubblewrap that `doctor` tries are not told."""
    noted = home / "noted"
    for name in ("claude", "bwrap"):
        program = home / name
        program.write_text(f"#!/bin/sh\necho ran >> {noted}; env >> {noted}\necho 1.0\n")
        program.chmod(0o755)
    given = {
        "AGENT_ENCRYPTION_KEYS": f"{OLD},{NEW}",
        "AGENT_API_KEY": STORED,
        "AGENT_CLAUDE_CLI": str(home / "claude"),
        "PATH": f"{home}:{os.environ['PATH']}",
    }
    code, out, err = await command("config", home=home, **given)
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if "AGENT_ENCRYPTION_KEYS " in line]
    assert line.split() == ["*", "AGENT_ENCRYPTION_KEYS", "••••••"]
    code, told, err = await command("doctor", home=home, **given)
    assert code == 0, told
    assert "canary" not in out + told + err
    assert noted.read_text().count("ran\n") == 2
    assert "canary" not in noted.read_text()


def test_its_representation_tells_nothing(home: Path) -> None:
    """A settings object in a traceback or a log line shows no key."""
    made = AgentSettings(_env_file=None, bascule_home=home, agent_encryption_keys=OLD)
    assert OLD not in f"{made!r} {made}"
    assert made.encryption_keys() == [OLD]
