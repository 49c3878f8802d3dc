"""A person's own config directory, as their agent may have left it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_service.credentials import directory

TOKEN = "sk-ant-oat01-" + "x" * 20


def link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def folder(path: Path) -> None:
    (path / "full").mkdir(parents=True)
    (path / "full" / "of").write_text("files")


def file(path: Path) -> None:
    path.write_text('{"hooks": {}}')


def deep(path: Path) -> None:
    path.mkdir()
    handle = os.open(path, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    path.chmod(0)


PLANTED: list[Callable[[Path], None]] = [link, dangling, folder, file, os.mkfifo]


@pytest.mark.parametrize("plant", PLANTED)
def test_whatever_was_planted_is_gone(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    """Links, folders and pipes in the places that count are replaced; nothing is followed, and
    nothing waits."""
    outside = Path("/etc/hostname").read_bytes()
    names = (*directory.STEERING, *directory.SHARED, directory.OWN, "plugins", "CLAUDE.md")
    for name in names:
        plant(tmp_path / name)
    directory.ready(tmp_path)
    for name in directory.STEERING:
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == b""
    for name in directory.SHARED:
        assert (tmp_path / name).is_dir()
        assert not (tmp_path / name).is_symlink()
    own = tmp_path / directory.OWN
    assert not own.exists() or json.loads(own.read_text()) == {}
    assert not {"plugins", "CLAUDE.md"} & {p.name for p in tmp_path.iterdir()}
    assert Path("/etc/hostname").read_bytes() == outside


def test_folders_without_end_are_removed(tmp_path: Path) -> None:
    """However deep it is and whatever its modes, nothing of it is left, beside it neither."""
    config = tmp_path / "people" / "p1"
    directory.ready(config)
    for name in ("plugins", "CLAUDE.md"):
        deep(config / name)
    directory.ready(config)
    assert {p.name for p in config.iterdir()} == {*directory.STEERING, *directory.SHARED}
    assert list(config.parent.iterdir()) == [config]


def test_it_is_made_ready_again_and_again(tmp_path: Path) -> None:
    """What a running session has its masks and mounts on stays the same file and folder."""
    config = tmp_path / "people" / "p1"
    directory.ready(config)
    names = (*directory.STEERING, *directory.SHARED)
    before = {name: (config / name).stat().st_ino for name in names}
    (config / "projects" / "kept").write_text("x")
    directory.ready(config)
    assert {name: (config / name).stat().st_ino for name in names} == before
    assert (config / "projects" / "kept").exists()
    assert config.stat().st_mode & 0o777 == 0o700


def test_the_sign_in_stays_and_is_known(tmp_path: Path) -> None:
    """Of the CLI's own file, what a sign-in left is kept; its secrets are found in both files."""
    tokens = {"claudeAiOauth": {"accessToken": TOKEN, "refreshToken": TOKEN + "r", "scopes": []}}
    (tmp_path / directory.TOKENS).write_text(json.dumps(tokens))
    own = {"oauthAccount": {"emailAddress": "a@b"}, "primaryApiKey": TOKEN + "k", "mcpServers": {}}
    (tmp_path / directory.OWN).write_text(json.dumps(own))
    directory.ready(tmp_path)
    del own["mcpServers"]
    assert json.loads((tmp_path / directory.OWN).read_text()) == own
    assert json.loads((tmp_path / directory.TOKENS).read_text()) == tokens
    assert directory.secrets_of(tmp_path) == [TOKEN, TOKEN + "r", TOKEN + "k"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_content_is_borne(content: bytes) -> None:
    """Files that are no JSON, or of another form, raise nothing and leave no half file."""
    with tempfile.TemporaryDirectory() as path:
        config = Path(path)
        for name in (directory.TOKENS, directory.OWN):
            (config / name).write_bytes(content)
        directory.secrets_of(config)
        directory.ready(config)
        own = config / directory.OWN
        assert not own.exists() or isinstance(json.loads(own.read_text()), dict)
        assert (config / directory.TOKENS).read_bytes() == content
