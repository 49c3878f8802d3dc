"""How a workspace comes to be and how it ends, whatever an agent made of it meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent_service.contract.errors import TooLarge
from agent_service.contract.workspaces import INSTRUCTIONS_LIMIT
from agent_service.workspaces import trees
from agent_service.workspaces.directory import Workspaces
from agent_service.workspaces.stage import NAME

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "workspaces"
    # What a failed test left may be deeper than anything else can remove.
    if tmp_path.exists():
        trees.remove(tmp_path.parent, tmp_path.name)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_made_whole(root: Path) -> None:
    """Three folders for their user only, and an empty repository whose branch is main."""
    made = Workspaces(root).ensure("w1")
    for folder in (made.work, made.config, made.home):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert (made.work / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert names(made.work) == [".git"]
    assert not (made.work / ".git" / "hooks").exists()
    assert list((root / NAME).glob("*/*")) == []


def test_it_is_made_with_its_instructions(root: Path) -> None:
    """One step makes git and CLAUDE.md; what is there already keeps its own."""
    places = Workspaces(root)
    made = places.ensure("w1", "Be kind.")
    assert names(made.work) == [".git", "CLAUDE.md"]
    assert places.instructions(made) == "Be kind."
    assert places.instructions(places.ensure("w1", "Be rude.")) == "Be kind."
    with pytest.raises(TooLarge):
        places.ensure("w2", "x" * (INSTRUCTIONS_LIMIT + 1))
    assert names(root) == [NAME, "w1"]


def test_git_is_told_nothing(root: Path, tmp_path: Path) -> None:
    """No configuration and no template of anybody acts while a workspace is made."""
    planted, home = tmp_path / "template", tmp_path / "home"
    (planted / "hooks").mkdir(parents=True)
    (planted / "hooks" / "post-checkout").write_text("#!/bin/sh\n")
    home.mkdir()
    (home / ".gitconfig").write_text(
        f"[init]\n templateDir = {planted}\n defaultBranch = planted\n[core]\n bare = true\n"
    )
    script = (
        "import sys; from pathlib import Path\n"
        "from agent_service.workspaces.directory import Workspaces\n"
        "Workspaces(Path(sys.argv[1])).ensure('w1')\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GIT_TEMPLATE_DIR": str(planted),
        "GIT_DIR": str(tmp_path / "elsewhere"),
    }
    subprocess.run([sys.executable, "-c", script, str(root)], cwd=ROOT, env=environment, check=True)
    git = root / "w1" / "work" / ".git"
    assert (git / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert not (git / "hooks").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_without_git_it_is_made_all_the_same(root: Path, tmp_path: Path) -> None:
    """Where git is missing there is one line in the log, and no repository."""
    script = (
        "import sys; from pathlib import Path\n"
        "from agent_service.workspaces.directory import Workspaces\n"
        "Workspaces(Path(sys.argv[1])).ensure('w1')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert names(root / "w1" / "work") == []
    assert (done.stdout + done.stderr).count("workspace.no_git") == 1


def test_git_is_initialised_once(root: Path) -> None:
    """Whoever removed their repository does not find another one later."""
    places = Workspaces(root)
    made = places.ensure("w1")
    shutil.rmtree(made.work / ".git")
    places.ensure("w1")
    Workspaces(root).ensure("w1")
    assert names(made.work) == []


@pytest.mark.parametrize("missing", ["work", "config", "home"])
def test_what_was_cut_off_is_completed(root: Path, missing: str) -> None:
    """A part that is missing is made again, and what is there stays."""
    places = Workspaces(root)
    made = places.ensure("w1")
    for part in ("work", "config", "home"):
        (root / "w1" / part / "mine").write_text("x")
    shutil.rmtree(root / "w1" / missing)
    places.ensure("w1")
    assert {p.name for p in made.work.parent.iterdir()} == {"work", "config", "home"}
    kept = {p.parent.name for p in (root / "w1").glob("*/mine")}
    assert kept == {"work", "config", "home"} - {missing}


def test_many_at_once_make_one(root: Path) -> None:
    """Whoever comes second finds what the first made."""
    places = Workspaces(root)
    start = threading.Barrier(8)

    def make(_: int) -> None:
        start.wait(30)
        made = places.ensure("w1")
        assert (made.work / ".git").is_dir()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(8)))
    assert sorted(p.name for p in root.iterdir()) == [NAME, "w1"]
    assert list((root / NAME).glob("*/*")) == []


def test_a_kill_while_it_is_made_leaves_nothing_half(root: Path) -> None:
    """Killed at any moment: it is whole or not there, and the next start clears up."""
    script = (
        "import sys; from pathlib import Path\n"
        "from agent_service.workspaces.directory import Workspaces\n"
        "places = Workspaces(Path(sys.argv[1]))\n"
        "print('go', flush=True)\n"
        "for n in range(1000): places.ensure(f'w{n}')\n"
    )
    for tries in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(root)], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            threading.Event().wait(0.05 + tries * 0.013)
            process.kill()
        for base in root.iterdir():
            if base.name != NAME:
                assert (base / "work" / ".git" / "HEAD").exists()
                assert (base / "config").is_dir()
                assert (base / "home").is_dir()
                shutil.rmtree(base)
    places = Workspaces(root)
    places.ensure("w1")
    places.sweep()
    assert list((root / NAME).glob("*/*")) == []


# ---- its end ----


def deep(top: Path, levels: int) -> None:
    """Folders in folders, as only somebody who goes down into each can make them."""
    handle = os.open(top, os.O_DIRECTORY)
    for level in range(levels):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_DIRECTORY, dir_fd=handle)
        if level % 500 == 0:
            os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        os.close(handle)
        handle = inner
    os.close(handle)


def hostile(work: Path) -> None:
    """All that an agent can put in the way of whoever removes its files."""
    deep(work, 1500)
    (work / "wide").mkdir()
    for number in range(1000):
        (work / "wide" / str(number)).touch()
    locked = work / "locked"
    (locked / "inner" / "innermost").mkdir(parents=True)
    (locked / "inner" / "file").write_text("x")
    os.mkfifo(work / "pipe")
    (work / "to-etc").symlink_to("/etc")
    (work / "to-itself").symlink_to("to-itself")
    (work / b"\xff\n\x1b".decode("utf-8", "surrogateescape")).write_text("x")
    (locked / "inner" / "file").chmod(0)
    (locked / "inner").chmod(0)
    locked.chmod(0)


def test_a_hostile_tree_is_removed(root: Path) -> None:
    """Very deep, very wide, locked, full of links: it goes, and nothing else does."""
    places = Workspaces(root)
    made = places.ensure("w1")
    hostile(made.work)
    other = places.ensure("w2")
    (other.work / "mine").write_text("x")
    (made.work / "neighbour").symlink_to(other.work)
    taken = places.discard("w1")
    assert taken is not None
    assert not made.work.parent.exists()
    places.remove(taken)
    assert not taken.exists()
    assert list((root / NAME).glob("*/*")) == []
    assert (other.work / "mine").read_text() == "x"
    assert places.discard("w1") is None


def test_a_hostile_tree_is_emptied(root: Path) -> None:
    """A reset leaves a workspace as new; who is signed in stays, and CLAUDE.md where asked."""
    places = Workspaces(root)
    made = places.ensure("w1")
    for keep in (True, False):
        hostile(made.work)
        hostile(made.config)
        (made.home / ".bashrc").write_text("planted")
        (made.work / "CLAUDE.md").write_text("Be brief.")
        (made.work / ".git" / "config").write_text("[core]\n fsmonitor = touch /tmp/planted\n")
        (made.config / ".credentials.json").write_text("{}")
        made.work.chmod(0)
        places.empty("w1", keep_instructions=keep)
        assert names(made.work) == [".git", *(["CLAUDE.md"] if keep else [])]
        assert names(made.config) == [".credentials.json"]
        assert names(made.home) == []
        assert "fsmonitor" not in (made.work / ".git" / "config").read_text()
        assert list((root / NAME).glob("*/*")) == []


def test_what_is_kept_is_a_file(root: Path) -> None:
    """A link or a folder that is called CLAUDE.md is not kept."""
    places = Workspaces(root)
    made = places.ensure("w1")
    (made.work / "CLAUDE.md").symlink_to("/etc/passwd")
    places.empty("w1", keep_instructions=True)
    assert names(made.work) == [".git"]
    (made.work / "CLAUDE.md").mkdir()
    places.empty("w1", keep_instructions=True)
    assert names(made.work) == [".git"]


def test_a_removal_that_was_stopped_goes_on_at_the_next_start(root: Path) -> None:
    """The service need not wait for a million files when it stops."""
    places = Workspaces(root)
    made = places.ensure("w1")
    hostile(made.work)
    taken = places.discard("w1")
    assert taken is not None
    looks = iter([False] * 40)
    assert not places.stage.remove(taken, lambda: next(looks, True))
    assert list((root / NAME).glob("*/*")) != []
    Workspaces(root).sweep()
    assert list((root / NAME).iterdir()) == []


@pytest.mark.full
def test_an_ordinary_user_removes_a_hostile_tree() -> None:
    """The same without root's rights, for which no mode is an obstacle."""
    folder = Path(tempfile.mkdtemp(prefix="bsc-"))
    folder.chmod(0o777)
    try:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.geteuid() == 0:
                    os.setgid(65534)
                    os.setuid(65534)
                test_a_hostile_tree_is_removed(folder / "a")
                test_a_hostile_tree_is_emptied(folder / "b")
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        trees.remove(folder.parent, folder.name)


def test_the_size_of_a_hostile_tree(root: Path) -> None:
    """It is counted as far as it can be, and says that it was not all."""
    made = Workspaces(root).ensure("w1")
    (made.work / "big").write_bytes(b"x" * 100_000)
    top = os.open(made.work, os.O_DIRECTORY)
    try:
        found = trees.extent(top)
        assert found.complete
        assert found.size >= 100_000
        before = found.files
        deep(made.work, 300)
        found = trees.extent(top)
        assert not found.complete
        assert found.files == before + 1
    finally:
        os.close(top)
