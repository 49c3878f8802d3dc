"""The `bascule` command beside `up`: help, doctor, config, migrate, demo, chat without a bridge."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deployment import BASCULE, command, environment


async def test_help_names_every_command(place: Path) -> None:
    """Every folder's commands are there, each with a line of help."""
    code, out, _ = await command("--help", home=place)
    assert code == 0
    for word in ("up", "demo", "chat", "agent", "bridge", "doctor", "config", "migrate"):
        assert f"\n  {word} " in out
    code, out, _ = await command("--version", home=place)
    assert (code, out.strip()) == (0, "0.1.0")


async def test_demo_answers_one_question(place: Path) -> None:
    """`demo --ask` prints the answer alone, exits 0, and leaves nothing behind."""
    code, out, err = await command("demo", "--ask", "say hello", home=place, TMPDIR=str(place))
    assert (code, out.strip()) == (0, "hello"), err
    assert list(place.glob("bascule-demo-*")) == []


async def test_demo_does_not_touch_a_deployment(place: Path) -> None:
    """Settings and `.env` of the user's own deployment change nothing about the demo."""
    (place / ".env").write_text("AGENT_MODE=nonsense\nBRIDGE_ADAPTERS=telepathy\n")
    code, out, err = await command(
        "demo", "--ask", "say hello", home=place, AGENT_API_KEY="real", BRIDGE_LISTEN="junk"
    )
    assert (code, out.strip()) == (0, "hello"), err
    assert not (place / "data").exists()


async def test_demo_takes_lines_from_a_pipe(place: Path) -> None:
    """Each line is a message of one conversation; files stay where --home says."""
    code, out, err = await command(
        "demo", "--home", str(place / "kept"), home=place,
        given=b"my name is Ada\nwhat is my name\n",
    )  # fmt: skip
    assert code == 0, err
    assert "Your name is Ada." in out
    assert (place / "kept" / "bridge" / "bridge.db").exists()


async def test_chat_without_a_bridge_says_what_to_do(place: Path) -> None:
    """Nobody is left with a connection error."""
    code, _, err = await command("chat", home=place, given=b"hello\n")
    assert code == 1
    assert "bascule up" in err
    assert "Traceback" not in err


async def test_doctor_knows_a_fresh_machine(place: Path) -> None:
    """Before the first start nothing is broken; what is missing is said with what to do."""
    code, out, err = await command("doctor", home=place)
    assert code == 0, out + err
    assert "✓ Claude CLI" in out
    assert "Set AGENT_API_KEY" in out


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda data: (data / "secrets" / "bridge.keys").chmod(0o644), "chmod 600"),
        (lambda data: (data / "secrets" / "bridge.keys").write_text(""), "holds no key"),
        (lambda data: (data / "bridge" / "bridge.db").write_text("junk" * 999), "bridge.db"),
        (lambda data: data.chmod(0o777), "chmod go-w"),
    ],
    ids=["readable keys", "no key", "damaged database", "open home"],
)
async def test_doctor_finds_what_is_broken(place: Path, break_it: object, told: str) -> None:
    """Each thing that would stop a start is found beforehand, and doctor exits with 1."""
    data = place / "data"
    code, _, err = await command("migrate", home=place)
    assert code == 0, err
    (data / "secrets").mkdir(mode=0o700, exist_ok=True)
    for name in ("bridge.keys", "admin.keys"):
        (data / "secrets" / name).touch(0o600)
        (data / "secrets" / name).write_text("k" * 48 + "\n")
    assert callable(break_it)
    break_it(data)
    code, out, err = await command("doctor", home=place)
    assert code == 1, out
    assert told in out
    assert "Traceback" not in out + err


async def test_config_masks_secrets(place: Path) -> None:
    """Settings in force are shown with what was chosen marked, and no secret is."""
    code, out, _ = await command(
        "config", home=place, AGENT_API_KEY="very-secret", BRIDGE_CONCURRENCY="7",
        BRIDGE_DATABASE_URL="postgresql://me:hidden-word@db/x",
    )  # fmt: skip
    assert code == 0
    assert "very-secret" not in out
    assert "hidden-word" not in out
    assert "* BRIDGE_CONCURRENCY" in out


async def test_config_says_what_is_wrong(place: Path) -> None:
    """A bad value is named, one line each, without a traceback."""
    code, _, err = await command("config", home=place, BRIDGE_CONCURRENCY="many", AGENT_MODE="all")
    assert code == 2
    assert "BRIDGE_CONCURRENCY" in err
    assert "AGENT_MODE" in err
    assert "Traceback" not in err


async def test_migrate_twice(place: Path) -> None:
    """All databases are made, and a second time there is nothing to do."""
    for _ in range(2):
        code, out, err = await command("migrate", home=place)
        assert code == 0, err
        assert "bridge:" in out
        assert "agent service:" in out
    assert (place / "data" / "agent" / "agent.db").stat().st_mode & 0o077 == 0


def test_a_broken_package_is_named(place: Path) -> None:
    """A command group that cannot be loaded is named, and the other commands still work."""
    info = place / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bascule.commands]\nbroken = no_such_module\n")
    done = subprocess.run(
        [BASCULE, "--version"],
        env=environment(place, PYTHONPATH=str(place)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "no_such_module" in done.stderr
