"""Settings: each mistake is one line that names the variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.settings import BridgeSettings, SettingsInvalid, read_signing_keys

LOAD = """
from bridge.settings import SettingsInvalid, load
try:
    print(load().bridge_listen)
except SettingsInvalid as error:
    print(error)
"""


def told(cwd: Path, **environ: str) -> str:
    """What a fresh process says about its environment."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), **environ}
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env=environment, cwd=cwd, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_nothing_set(tmp_path):
    """Everything has a default that works on one machine."""
    assert told(tmp_path) == "127.0.0.1:8480"


def test_environment_and_file(tmp_path):
    """A `.env` file in the working directory counts, and the environment wins over it."""
    (tmp_path / ".env").write_text("BRIDGE_LISTEN=127.0.0.1:1\nSOMEBODY_ELSES=x\n")
    assert told(tmp_path) == "127.0.0.1:1"
    assert told(tmp_path, BRIDGE_LISTEN="off") == "off"


def test_misspelt(tmp_path):
    """A misspelt variable is a mistake with a suggestion, not silently without effect."""
    said = told(tmp_path, BRIDGE_ADAPTER="slack", BRIDGE_OF_SIGHS="Venice")
    assert said == "BRIDGE_ADAPTER: there is no such setting; did you mean BRIDGE_ADAPTERS?"


def test_all_mistakes_at_once(tmp_path):
    """Each bad value is a line of its own, by the variable's name, without the value."""
    bad = {
        "BRIDGE_ADAPTERS": " , ",
        "BRIDGE_LISTEN": "everywhere",
        "BRIDGE_CONCURRENCY": "many",
        "BRIDGE_TURN_SECONDS": "0",
        "BRIDGE_AGENT_PATIENCE_SECONDS": "-1",
        "LOG_LEVEL": "loud",
        "BRIDGE_LISTN": "x",
    }
    lines = told(tmp_path, **bad).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == sorted(bad)
    assert not any("many" in line or "everywhere" in line for line in lines)
    assert any("names no adapter; console is the one that needs no account" in x for x in lines)


@pytest.mark.parametrize("listen", ["", "8480", ":8480", "h:99999", "h:-1", "h:x", "h:"])
def test_bad_address(listen):
    """Where to listen is host:port, or off."""
    with pytest.raises(ValueError, match="neither host:port nor off"):
        BridgeSettings(_env_file=None, bridge_listen=listen)


@pytest.mark.parametrize(
    ("listen", "where"),
    [("off", None), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80))],
)
def test_good_address(listen, where):
    """Port 0, IPv6 and off are understood."""
    assert BridgeSettings(_env_file=None, bridge_listen=listen).listen == where


def test_adapters_once_each():
    """Names are taken in the order given, each once, spaces and empty ones left out."""
    settings = BridgeSettings(_env_file=None, bridge_adapters="slack, discord,,slack ")
    assert settings.adapters == ("slack", "discord")


class TestKeys:
    """The file of signing keys."""

    @pytest.fixture
    def file(self, tmp_path):
        file = tmp_path / "bridge.keys"
        file.write_text("a" * 40 + "\n\n  " + "b" * 40 + "\n")
        file.chmod(0o600)
        return file

    def test_oldest_to_newest(self, file):
        """Keys are read in their order; empty lines do not count."""
        assert read_signing_keys(file) == ["a" * 40, "b" * 40]

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
    def test_others_may_read(self, file, mode):
        """A file that others can open is refused with the command that mends it."""
        file.chmod(mode)
        with pytest.raises(SettingsInvalid, match=f"run: chmod 600 {file}"):
            read_signing_keys(file)

    @pytest.mark.parametrize(
        ("content", "told"),
        [(b"", "holds no key"), (b"\n \n", "holds no key"), (b"\xff\xfe", "something else")],
    )
    def test_no_keys(self, file, content, told):
        """A file without keys is named."""
        file.write_bytes(content)
        with pytest.raises(SettingsInvalid, match=told) as caught:
            read_signing_keys(file)
        assert str(caught.value).startswith("BRIDGE_SIGNING_KEYS_FILE: ")

    def test_not_there(self, tmp_path):
        """A missing file is told with who makes it."""
        with pytest.raises(SettingsInvalid, match="`bascule up` makes it on its first run"):
            read_signing_keys(tmp_path / "none")

    def test_short_keys(self, house, home):
        """Keys that are too short to be safe are refused before anything is opened."""
        file = home / "secrets" / "bridge.keys"
        file.write_text("short\n")
        with pytest.raises(SettingsInvalid, match="BRIDGE_SIGNING_KEYS_FILE"):
            house.make()
        assert not os.path.lexists(home / "bridge" / "bridge.db")
