"""The CLI's transcript, as the agent may have left it."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_service.claude import transcript

ID = "11111111-1111-4111-8111-111111111111"
SEVERAL_GIB = 3 << 30

pytestmark = pytest.mark.timeout(20)


def place(config: Path, project: str) -> Path:
    folder = config / "projects" / project
    folder.mkdir(parents=True)
    return folder / f"{ID}.jsonl"


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SEVERAL_GIB)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def long_line(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(transcript.LONGEST + 2)


def deep(path: Path) -> None:
    path.write_bytes(b'{"tool_use":' + b"[" * 200_000 + b"\n")


PLANTED: list[Callable[[Path], None]] = [os.mkfifo, endless, dangling, sparse, long_line, deep]


@pytest.mark.parametrize("plant", PLANTED)
def test_what_is_planted_neither_waits_nor_grows(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    """Pipes, links and huge files beside a transcript: it is still found and still renewed, and
    what cannot be read counts as unresolved."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    good = place(tmp_path, "a")
    note = {"type": "last-prompt", "leafUuid": "old"}
    said = {"type": "user", "uuid": "new"}
    written = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in (note, said))
    good.write_text(written)
    assert not transcript.unresolved(tmp_path, ID)
    plant(place(tmp_path, "b"))
    assert transcript.exists(tmp_path, ID)
    assert transcript.unresolved(tmp_path, ID)
    transcript.lead_on(tmp_path, ID)
    assert json.loads(good.read_text().splitlines()[-1]) == {**note, "leafUuid": "new"}
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300 * 1024  # KiB


@pytest.mark.parametrize("plant", [os.mkfifo, endless, dangling])
def test_what_is_no_file_is_no_session(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    """Nothing is resumed from a pipe or a link."""
    plant(place(tmp_path, "b"))
    assert not transcript.exists(tmp_path, ID)


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    """`projects` that leads elsewhere is not read there."""
    elsewhere = tmp_path / "elsewhere"
    place(elsewhere, "a").write_text("{}\n")
    config = tmp_path / "config"
    config.mkdir()
    (config / "projects").symlink_to(elsewhere / "projects")
    assert not transcript.exists(config, ID)
    assert transcript.unresolved(config, ID)
    transcript.lead_on(config, ID)
    assert not transcript.exists(tmp_path / "nowhere", ID)
