"""Which calls need a person, and what exactly a person allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent_service.claude import options
from agent_service.contract.turns import Mode
from agent_service.policy.asks import why_it_asks
from agent_service.policy.canonical import (
    ABSENT,
    LARGEST,
    TOO_LARGE,
    input_sha256,
    same_target,
    target_sha256,
)
from agent_service.policy.effective import Effective
from agent_service.settings import AgentSettings

WORK = Path("/w")
PLAIN = st.sampled_from(
    ["ls", "cat a.txt", "ls -la src", "echo hi", "head -n 5 notes.md", "wc a b"]
)
META = st.sampled_from(
    [*";&|<>()$`\\\"'*?[]{}!#~\n\r\t\x00", "..", "$(", "&&", "||", ">>", "<(", "\u2028", "é"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
INPUTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=5)


@given(PLAIN, META, st.integers(0, 20), PLAIN)
@example("ls", "\n", 2, "rm -rf x")
def test_nothing_with_a_shells_characters_passes(plain: str, meta: str, at: int, more: str) -> None:
    """A command with anything that a shell acts on needs a person, wherever it stands."""
    for command in (plain[:at] + meta + plain[at:], plain + meta + more, meta + plain):
        if command.split() != command.replace(meta, " ").split() or meta not in "\n\r\t":
            assert why_it_asks("Bash", {"command": command}, Effective("default"), WORK), command


@given(st.text(max_size=60))
def test_only_plain_reading_passes(command: str) -> None:
    """Whatever passes unasked begins with a command that only reads, and stays below."""
    if not why_it_asks("Bash", {"command": command}, Effective("default"), WORK):
        words = command.split()
        assert words[0] in {"ls", "cat", "pwd", "head", "tail", "wc", "echo", "true", "date"}
        assert not any(word.startswith(("/", "~")) or ".." in word for word in words)
        assert "\n" not in command


@pytest.mark.parametrize(
    "command", ["ls\nrm -rf .", "ls\r rm", "cat /etc/passwd", "cat ../x", "cat ~/x", "FOO=1 ls",
                "ls > x", "echo `id`", "LS", "/bin/ls", ""]
)  # fmt: skip
def test_what_looks_plain_and_is_not(command: str) -> None:
    """Second lines, other folders, assignments and paths to programs need a person."""
    assert why_it_asks("Bash", {"command": command}, Effective("default"), WORK)


@pytest.mark.parametrize("value", [None, 5, [], {}, ["ls"], True, "a\x00b", "a\ud800"])
def test_an_input_of_another_type_does_no_harm(value: Any) -> None:
    """A model may send anything; it is asked about, never a failure."""
    for tool, field in (("Bash", "command"), ("Write", "file_path"), ("Edit", "file_path")):
        assert why_it_asks(tool, {field: value}, Effective("default"), WORK)
        why_it_asks(tool, {field: value}, Effective("acceptEdits"), WORK)
        target_sha256(tool, {field: value}, WORK)
    for bad in ("a\x00b", "a\ud800"):
        assert why_it_asks("Read", {"file_path": bad}, Effective("default"), WORK)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", ".git/hooks/pre-commit", ".claude/settings.json", ".mcp.json",
             ".env", "sub/.env.local", "link/x"]
)  # fmt: skip
def test_edits_outside_and_of_guarded_files_ask(tmp_path: Path, path: str) -> None:
    """acceptEdits covers files of the workspace, and none that configure something."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "link").symlink_to("/etc")
    work = tmp_path / "work"
    assert why_it_asks("Write", {"file_path": str(work / path)}, Effective("acceptEdits"), work)
    assert not why_it_asks(
        "Write", {"file_path": str(work / "notes.md")}, Effective("acceptEdits"), work
    )


@pytest.mark.parametrize("mode", ["default", "acceptEdits", "plan"])
def test_an_unknown_tool_asks(mode: Mode) -> None:
    """A tool that this release does not know needs a person."""
    assert why_it_asks("BrandNewTool", {}, Effective(mode), WORK)


@given(st.text(max_size=10), INPUTS)
def test_a_call_has_one_hash(tool: str, tool_input: dict[str, Any]) -> None:
    """The order of keys, and a trip through JSON, change nothing."""
    turned = json.loads(json.dumps(dict(reversed(tool_input.items()))))
    assert input_sha256(tool, turned) == input_sha256(tool, tool_input)


@given(st.text(max_size=10), INPUTS, st.text(max_size=10), INPUTS)
def test_another_call_has_another_hash(
    tool: str, first: dict[str, Any], other: str, second: dict[str, Any]
) -> None:
    """Any difference is seen: a number is not its digits, and true is not 1."""
    same = json.dumps([tool, first], sort_keys=True) == json.dumps([other, second], sort_keys=True)
    assert (input_sha256(tool, first) == input_sha256(other, second)) is same


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    """Files, no file, folders and links are told apart; nothing outside is looked at."""
    work = tmp_path / "work"
    work.mkdir()
    file = work / "a.txt"
    call = {"file_path": str(file)}
    assert target_sha256("Write", call, work) == ABSENT
    file.write_text("one")
    one = target_sha256("Write", call, work)
    file.write_text("two")
    assert len({one, target_sha256("Write", call, work), ABSENT, ""}) == 4
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert target_sha256("Write", call, work) == ""
    assert target_sha256("Write", {"file_path": "/etc/passwd"}, work) == ""
    assert target_sha256("Write", {"file_path": "relative/../../x"}, work) == ""
    assert target_sha256("Write", {"file_path": 5}, work) == ""
    assert target_sha256("Bash", {"command": "ls"}, work) == ""


def test_nobody_can_set_the_mode_that_asks_nothing() -> None:
    """bypassPermissions is no setting of a deployment."""
    with pytest.raises(ValidationError, match="agent_mode"):
        AgentSettings(_env_file=None, agent_mode="bypassPermissions")


def test_no_tool_is_allowed_as_a_whole() -> None:
    """The options name no allowed tool: that would let it pass the gate's callback."""
    source = Path(options.__file__).read_text()
    assert "allowed_tools=" not in source.replace("disallowed_tools=", "")


def test_a_huge_file_is_not_read_and_never_the_same(tmp_path: Path) -> None:
    """Beyond what is hashed no two files are taken for one, not even the same."""
    file = tmp_path / "big"
    with file.open("wb") as big:
        big.truncate(4 << 30)
    call = {"file_path": str(file)}
    assert target_sha256("Edit", call, tmp_path) == TOO_LARGE
    assert not same_target(TOO_LARGE, TOO_LARGE)
    with file.open("r+b") as big:
        big.truncate(LARGEST)
    shown = target_sha256("Edit", call, tmp_path)
    assert same_target(shown, target_sha256("Edit", call, tmp_path))
    assert not same_target(shown, ABSENT)
