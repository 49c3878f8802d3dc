"""The `bascule` command beside `up`: help, doctor, config, migrate, demo, chat without a bridge."""

from __future__ import annotations

import os
import shutil
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


async def test_doctor_changes_nothing(place: Path) -> None:
    """Looking makes nothing: not in an empty home, and not where there is none."""
    code, out, _ = await command("doctor", home=place)
    assert code == 0, out
    assert list(place.iterdir()) == []
    (place / "data").mkdir(mode=0o700)
    code, out, _ = await command("doctor", home=place)
    assert code == 0, out
    assert list(place.rglob("*")) == [place / "data"]


async def test_doctor_says_all_that_is_wrong(place: Path) -> None:
    """One wrong setting hides no other, and what does not need it is still checked."""
    code, out, err = await command(
        "doctor", home=place, BRIDGE_CONCURRENCY="many", AGENT_MODE="all", AGENT_SANDBX="off"
    )
    assert code == 2, err
    assert "✗ BRIDGE_CONCURRENCY: " in out
    assert "✗ AGENT_MODE: " in out
    assert "did you mean AGENT_SANDBOX?" in out
    assert "✓ Console socket" in out


CANARY = "canary"
SECRETS = {
    "wrong ones": {
        "AGENT_API_KEY": f"sk-ant-{CANARY} more",
        "AGENT_UPSTREAM_URL": f"ftp://me:{CANARY}@model",
        "BRIDGE_DATABASE_URL": f"postgresql://me:{CANARY}@db:port/x",
        "AGENT_PRICES_FLE": CANARY,
    },
    "a key of another look": {"AGENT_API_KEY": f"{CANARY} more", "BRIDGE_LISTEN": CANARY},
    "right ones": {
        "AGENT_API_KEY": f"sk-ant-{CANARY}",
        "AGENT_UPSTREAM_URL": f"http://me:{CANARY}@127.0.0.1:9",
        "BRIDGE_DATABASE_URL": f"postgresql://me:{CANARY}@127.0.0.1:9/x",
        "BRIDGE_LISTEN": "off",
    },
}


@pytest.mark.full
@pytest.mark.parametrize("secrets", SECRETS.values(), ids=SECRETS.keys())
async def test_no_command_tells_a_secret(place: Path, secrets: dict[str, str]) -> None:
    """Whatever is right or wrong about a secret, no command prints it."""
    words_of_all = [("doctor",), ("config",), ("migrate",), ("up",), ("chat", "--ask", "say x")]
    if secrets is SECRETS["right ones"]:  # the demo reads none of them
        words_of_all.append(("demo", "--ask", "say hello"))
    for words in words_of_all:
        code, out, err = await command(*words, home=place, **secrets)
        assert CANARY not in out + err, words
        assert "Traceback" not in out + err, words
        if words[0] in ("migrate", "up"):
            assert code != 0, "the settings are wrong, or this database is not supported"


@pytest.mark.parametrize(
    ("name", "in_file"),
    [("config", False), ("config", True), ("up", True), ("migrate", False), ("doctor", True)],
)
async def test_a_misspelt_setting_is_told(place: Path, name: str, in_file: bool) -> None:
    """Wherever it stands and whoever's it is: it would be silently without effect."""
    wrong = {"BRIDGE_LISTN": "x", "AGENT_APIKEY": "z", "BASCULE_HOM": "y"}
    if in_file:
        (place / ".env").write_text("".join(f"{n}={v}\n" for n, v in wrong.items()))
        wrong = {}
    code, out, err = await command(name, home=place, **wrong)
    assert code == 2
    for told in ("BRIDGE_LISTEN?", "AGENT_API_KEY?", "BASCULE_HOME?"):
        assert f"did you mean {told}" in out + err
    assert not (place / "data").exists()


@pytest.mark.parametrize("name", ["config", "doctor", "bridge"])
async def test_a_file_of_settings_that_is_no_text(place: Path, name: str) -> None:
    """A `.env` in another encoding is named, with what to do."""
    (place / ".env").write_bytes("BRIDGE_ADAPTERS=console".encode("utf-16"))
    code, out, err = await command(name, home=place)
    assert code == 2
    assert "is not UTF-8 text" in out + err
    assert "Traceback" not in out + err


@pytest.mark.parametrize("name", ["up", "doctor", "bridge"])
async def test_an_empty_home_is_refused(place: Path, name: str) -> None:
    """`BASCULE_HOME=` does not mean the folder one happens to be in."""
    code, out, err = await command(name, home=place, BASCULE_HOME="")
    assert code == 2
    assert "BASCULE_HOME: is empty" in out + err
    assert list(place.iterdir()) == []


async def test_a_home_below_ones_own(place: Path) -> None:
    """`~` is the user's home folder, in the quotes of a `.env` file too."""
    (place / ".env").write_text('BASCULE_HOME="~/mine"\n')
    settings = {name: value for name, value in environment(place).items() if "BASCULE" not in name}
    done = subprocess.run(
        [BASCULE, "migrate"], env=settings, cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (place / "mine" / "bridge" / "bridge.db").exists()


async def test_demo_without_what_the_sandbox_needs(place: Path) -> None:
    """On a machine without bubblewrap and socat the demo says so, with the line that installs
    them, and still answers."""
    tools = place / "tools"
    tools.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*"):
            if program.name not in ("bwrap", "socat") and not (tools / program.name).exists():
                (tools / program.name).symlink_to(program)
    code, out, err = await command("demo", "--ask", "say hello", home=place, PATH=str(tools))
    assert (code, out.strip()) == (0, "hello"), err
    assert "This demo runs without a sandbox" in err
    assert "apt-get install" in err
    assert "bubblewrap" in err
    assert "socat" in err


async def test_files_that_lie_around_are_not_run(place: Path) -> None:
    """A module in the folder one happens to be in does not become a part of Bascule."""
    planted = "raise SystemExit('planted')\n"
    (place / "structlog.py").write_text(planted)
    for name in ("adapters", "bridge", "agent_service"):
        (place / name).mkdir()
        (place / name / "__init__.py").write_text(planted)
    shutil.copytree(place / "adapters", place / "adapters" / "console")
    code, out, err = await command("demo", "--ask", "say hello", home=place)
    assert (code, out.strip()) == (0, "hello"), err
    code, _, err = await command("bridge", home=place)
    assert code == 2
    assert "planted" not in err
    assert "BRIDGE_SIGNING_KEYS_FILE" in err


async def test_demo_says_where_to_answer(place: Path) -> None:
    """A question in a demo that ends with its input is answered in one that does not."""
    code, _, err = await command("demo", "--ask", "ask me a question", home=place)
    assert code == 3
    assert "Run `bascule demo` without a pipe and without --ask" in err
    assert "bascule chat" not in err


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
