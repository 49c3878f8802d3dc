"""Nothing leaves a workspace: any path, any tree, and trees that change between two steps."""

from __future__ import annotations

import ctypes
import io
import os
import socket
import stat
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_service.contract.errors import BadRequest, Conflict, NotFound, ServiceError
from agent_service.contract.workspaces import DEPTH_LIMIT, FileEntry
from agent_service.workspaces import archive, beneath, listing, trees

CANARY = b"canary-7c1f"


@pytest.fixture
def top(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A workspace's folder, held, with a canary beside it."""
    outside, work = tmp_path / "outside", tmp_path / "work"
    for folder in (outside, work):
        folder.mkdir()
    (outside / "secret").write_bytes(CANARY)
    with beneath.opened(work) as handle:
        yield handle, work


def read(handle: int, path: str) -> bytes:
    opened, _ = beneath.open_file(handle, beneath.parts_of(path))
    with os.fdopen(opened, "rb") as file:
        return file.read()


def put(handle: int, path: str, data: bytes, aside: Path) -> FileEntry:
    made = aside / f"upload-{threading.get_ident()}"
    made.write_bytes(data)
    return beneath.place(handle, beneath.parts_of(path), made)


def export(handle: int) -> dict[str, tarfile.TarInfo]:
    data = b"".join(archive.tar(handle))
    assert CANARY not in data
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        return {member.name: member for member in found}


def everything(handle: int) -> list[FileEntry]:
    """A recursive listing, put together from small pages."""
    found: list[FileEntry] = []
    after: str | None = ""
    while after is not None:
        parts = tuple(after.split("/")) if after else ()
        page = listing.page(handle, (), recursive=True, after=parts, limit=3)
        assert len(page.entries) <= 3
        found += page.entries
        after = page.next
    return found


# ---- paths ----

BAD = [
    "/", "/etc/passwd", "..", "../outside/secret", "a/..", "a/../../b", ".", "./a", "a/./b", "a//b",
    "a/", "//a", "\0", "a\0b", "a/\0", "\ud800", "x" * 256, "ä" * 128, "a/" * 64 + "a",
    "/".join(["x" * 200] * 30),
]  # fmt: skip


@pytest.mark.parametrize("path", BAD, ids=lambda path: repr(path[:20]))
def test_what_is_no_plain_path_is_refused(path: str) -> None:
    """Climbing, absolute, empty parts, NUL, what is no character, too long: told as bad input."""
    with pytest.raises(BadRequest) as told:
        beneath.parts_of(path)
    assert told.value.fields["field"] == "path"
    assert told.value.remedy


def test_odd_names_are_names() -> None:
    """A name may hold nearly anything; it means nothing."""
    for name in ("...", "a b", "~", "$HOME", "a\\b", "-rf", "%2e%2e", "a\nb", "\u202e", "*", "..a"):
        assert beneath.parts_of(f"x/{name}") == ("x", name)
    assert beneath.parts_of("") == ()
    assert len(beneath.parts_of("/".join("a" * DEPTH_LIMIT))) == DEPTH_LIMIT


NAMES = st.sampled_from(
    ["a", "b", "link", "up", "root", "pipe", "..", ".", "", "a\0", "ü", "secret"]
)
PATHS = st.one_of(
    st.lists(NAMES, min_size=1, max_size=5).map("/".join),
    st.text(max_size=20),
    st.just("up/outside/secret"),
    st.just("link/secret"),
)


@contextmanager
def planted() -> Iterator[tuple[int, Path, Path]]:
    """A tree with links that lead everywhere."""
    with tempfile.TemporaryDirectory(prefix="bsc-") as name:
        base = Path(name)
        work, outside, aside = base / "work", base / "outside", base / "aside"
        for folder in (work, work / "a", work / "a" / "b", outside, aside):
            folder.mkdir()
        (outside / "secret").write_bytes(CANARY)
        (work / "a" / "secret").write_bytes(b"mine")
        for folder in (work, work / "a"):
            (folder / "link").symlink_to(outside)
            (folder / "up").symlink_to("..")
            (folder / "root").symlink_to("/")
            os.mkfifo(folder / "pipe")
        (work / "b").symlink_to(outside / "secret")
        with beneath.opened(work) as handle:
            yield handle, base, aside


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=PATHS, deed=st.sampled_from(["read", "put", "remove", "list", "all"]))
def test_no_path_leaves_the_workspace(path: str, deed: str) -> None:
    """Whatever is asked for, it is answered or refused; what is outside stays and stays unseen."""
    with planted() as (handle, base, aside):
        try:
            parts = beneath.parts_of(path)
            if deed == "read":
                assert read(handle, path) != CANARY
            elif deed == "put":
                put(handle, path, b"put", aside)
                assert read(handle, path) == b"put"
            elif deed == "remove":
                beneath.remove(handle, parts)
            else:
                page = listing.page(handle, parts, recursive=deed == "all", after=())
                assert all(e.path.startswith(path) for e in page.entries)
        except ServiceError as told:
            if told.status not in (400, 404, 409):
                raise
        assert [p.name for p in (base / "outside").iterdir()] == ["secret"]
        assert (base / "outside" / "secret").read_bytes() == CANARY
        assert {p.name for p in base.iterdir()} == {"work", "outside", "aside"}


# ---- kinds ----


def test_only_files_are_read(top: tuple[int, Path]) -> None:
    """Folders, pipes, sockets and devices are refused at once, and nothing waits for them."""
    handle, work = top
    (work / "folder").mkdir()
    os.mkfifo(work / "pipe")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.path.relpath(work / "socket"))
    (work / "file").write_text("x")
    names = ["folder", "pipe", "socket"]
    if os.geteuid() == 0:
        os.mknod(work / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        names.append("device")
    for name in names:
        with pytest.raises(ServiceError) as told:
            read(handle, name)
        assert told.value.status == 400, name
        assert (name in export(handle)) == (name == "folder")
    kinds = {e.path: e.kind for e in everything(handle)}
    assert kinds == {n: "other" for n in names if n != "folder"} | {
        "folder": "folder",
        "file": "file",
    }
    for name in names:
        assert beneath.remove(handle, (name,)).path == name
    listening.close()
    assert [path.name for path in work.iterdir()] == ["file"]


def test_a_link_is_replaced_and_not_followed(top: tuple[int, Path]) -> None:
    """An upload or a removal concerns the link; what it points to is as before."""
    handle, work = top
    secret = work.parent / "outside" / "secret"
    (work / "link").symlink_to(secret)
    with pytest.raises(BadRequest, match="link"):
        read(handle, "link")
    assert put(handle, "link", b"new", work.parent).kind == "file"
    assert not (work / "link").is_symlink()
    assert read(handle, "link") == b"new"
    (work / "again").symlink_to(secret)
    assert beneath.remove(handle, ("again",)).kind == "link"
    assert secret.read_bytes() == CANARY


def test_folders_are_made_and_never_overwritten(top: tuple[int, Path]) -> None:
    """What is missing on the way is made; a folder in its place, or a file on the way, is told."""
    handle, work = top
    assert put(handle, "a/b/c.txt", b"1", work.parent).path == "a/b/c.txt"
    assert put(handle, "a/b/c.txt", b"2", work.parent).size == 1
    assert (work / "a" / "b" / "c.txt").read_bytes() == b"2"
    assert (work / "a" / "b").stat().st_mode & 0o777 == 0o700
    for path in ("a", "a/b"):
        with pytest.raises(Conflict, match="folder"):
            put(handle, path, b"3", work.parent)
    with pytest.raises(BadRequest):
        put(handle, "a/b/c.txt/d", b"3", work.parent)
    with pytest.raises(Conflict, match="not empty"):
        beneath.remove(handle, ("a", "b"))
    beneath.remove(handle, ("a", "b", "c.txt"))
    beneath.remove(handle, ("a", "b"))
    with pytest.raises(NotFound):
        beneath.remove(handle, ("a", "b"))


# ---- listing and export ----

TREES = st.recursive(
    st.sampled_from(["file", "link", "pipe"]),
    lambda inner: st.dictionaries(
        st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=4)
        .filter(lambda name: name not in (".", "..")),
        inner,
        max_size=6,
    ),
    max_leaves=25,
)  # fmt: skip


def plant(folder: Path, tree: object) -> dict[str, str]:
    made: dict[str, str] = {}
    for name, inner in tree.items() if isinstance(tree, dict) else ():
        path = folder / name
        if isinstance(inner, dict):
            path.mkdir()
            made[name] = "folder"
            made |= {f"{name}/{below}": kind for below, kind in plant(path, inner).items()}
        elif inner == "file":
            path.write_text(name)
            made[name] = "file"
        elif inner == "link":
            path.symlink_to("/etc/passwd")
            made[name] = "link"
        else:
            os.mkfifo(path)
            made[name] = "other"
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=TREES)
def test_listing_and_export_hold_all(tree: object) -> None:
    """Any tree is listed completely, once and in order, in pages; its export holds the same."""
    with tempfile.TemporaryDirectory(prefix="bsc-") as name:
        made = plant(Path(name), tree)
        with beneath.opened(Path(name)) as handle:
            found = everything(handle)
            members = export(handle)
        assert {e.path: e.kind for e in found} == made
        order = [e.path.split("/") for e in found]
        assert order == sorted(order)
        members.pop(archive.LEFT_OUT, None)
        exported = {path: kind for path, kind in made.items() if kind != "other"}
        assert set(members) == set(exported)
        for path, kind in exported.items():
            member = members[path]
            assert (kind == "folder", kind == "link") == (member.isdir(), member.issym())


def test_a_huge_folder_is_listed_in_pages(top: tuple[int, Path]) -> None:
    """2,500 entries come in three pages of 1,000, none twice and none lost."""
    handle, work = top
    names = {f"f{number:05}" for number in range(2500)}
    for name in names:
        (work / name).touch()
    after: beneath.Parts = ()
    sizes, seen = [], []
    while True:
        page = listing.page(handle, (), recursive=False, after=after)
        sizes.append(len(page.entries))
        seen += [e.path for e in page.entries]
        if page.next is None:
            break
        after = (page.next,)
    assert sizes == [1000, 1000, 500]
    assert seen == sorted(names)


def test_a_very_deep_tree_ends_the_walk(top: tuple[int, Path]) -> None:
    """Listing and export stop at their limit, and the export says what it left out."""
    handle, work = top
    inner = os.dup(handle)
    for _ in range(1500):
        os.mkdir("d", dir_fd=inner)
        below = os.open("d", os.O_DIRECTORY, dir_fd=inner)
        os.close(inner)
        inner = below
    os.close(inner)
    assert len(everything(handle)) == DEPTH_LIMIT
    assert archive.LEFT_OUT in export(handle)
    trees.remove(work.parent, "work")


def test_an_export_that_is_unpacked_is_the_same(top: tuple[int, Path]) -> None:
    """Large files, long and odd names, modes and links come out as they went in; no setuid bit."""
    handle, work = top
    folder = work / ("long" * 50) / ("name" * 30)
    folder.mkdir(parents=True)
    (folder / "big").write_bytes(os.urandom(1_000_003))
    (work / b"\xff.bin".decode("utf-8", "surrogateescape")).write_bytes(b"odd")
    (work / "ünï").write_text("text")
    (work / "run").write_text("#!/bin/sh\n")
    (work / "run").chmod(0o4755)
    (work / "link").symlink_to("run")
    (work / "bad").symlink_to("../outside/secret")
    data = b"".join(archive.tar(handle))
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        members = found.getmembers()
        assert {m.uid for m in members} == {0}
        assert {m.uname for m in members} == {""}
        run = found.getmember("run")
        assert run.mode == 0o755
        assert found.getmember("bad").linkname == "../outside/secret"
        big = found.extractfile(f"{folder.relative_to(work)}/big")
        assert big is not None
        assert big.read() == (folder / "big").read_bytes()
        names = {os.fsencode(m.name) for m in members}
    assert b"\xff.bin" in names


def test_a_file_that_changes_under_an_export_breaks_nothing(top: tuple[int, Path]) -> None:
    """The archive stays readable when a file grows or shrinks while it is sent."""
    handle, work = top
    (work / "a").write_bytes(b"x" * 2_000_000)
    stream = archive.tar(handle)
    pieces = [next(stream)]
    os.truncate(work / "a", 500_000)
    pieces += list(stream)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as found:
        assert found.getmember("a").size == 2_000_000


# ---- races ----


_EXCHANGE = 2
_HERE = -100


def exchange(one: Path, other: Path) -> None:
    """Swap two names in one step, as renameat2 does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_HERE, bytes(one), _HERE, bytes(other), _EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


class Swapper:
    """A thread that swaps a folder and a file for links to the outside, and back."""

    def __init__(self, work: Path, outside: Path) -> None:
        self._swaps = [
            (work / "d", work / "d-other", outside),
            (work / "f", work / "f-other", outside / "secret"),
        ]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0

    def _run(self) -> None:
        while not self._end.is_set():
            for place, other, target in self._swaps:
                if not place.is_symlink() and not other.is_symlink():
                    # At first, and when an upload took the place of the link.
                    other.unlink(missing_ok=True)
                    other.symlink_to(target)
                exchange(place, other)
            self.rounds += 1

    def __enter__(self) -> Swapper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


Deed = Callable[[int, Path], object]


def _listed(handle: int, _: Path) -> object:
    found = listing.page(handle, ("d",), recursive=True, after=())
    assert "d/secret" not in [e.path for e in found.entries]
    return found


def _exported(handle: int, _: Path) -> object:
    return export(handle)


def _sized(handle: int, _: Path) -> object:
    return trees.extent(handle)


DEEDS: dict[str, Deed] = {
    "download": lambda handle, _: read(handle, "d/secret"),
    "download the file": lambda handle, _: read(handle, "f"),
    "upload": lambda handle, aside: put(handle, "d/new", b"new", aside),
    "upload over the file": lambda handle, aside: put(handle, "f", b"new", aside),
    "list": _listed,
    "export": _exported,
    "size": _sized,
    "remove": lambda handle, _: beneath.remove(handle, ("d", "secret")),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_nothing_leaves_while_folders_become_links(tmp_path: Path, deed: str) -> None:
    """Thousands of times, while a folder and a file are swapped for links to the outside: nothing
    outside is read, written or removed."""
    work, outside, aside = tmp_path / "work", tmp_path / "outside", tmp_path / "aside"
    for folder in (work, work / "d", outside, aside):
        folder.mkdir()
    (outside / "secret").write_bytes(CANARY)
    (work / "f").write_bytes(b"mine")
    (work / "d" / "mine").write_bytes(b"mine")
    ends: dict[str, int] = {}
    until = time.monotonic() + 60
    with beneath.opened(work) as handle, Swapper(work, outside) as swapper:
        tries = 0
        # Until it was tried often, and the swapping really went on beside it.
        while (tries < 2000 or swapper.rounds < 500) and time.monotonic() < until:
            tries += 1
            try:
                found = DEEDS[deed](handle, aside)
                assert found != CANARY
                ends["done"] = ends.get("done", 0) + 1
            except ServiceError as told:
                if told.status not in (400, 404, 409):
                    raise
                ends[told.code] = ends.get(told.code, 0) + 1
        assert swapper.rounds > 0
    assert tries > 100
    assert [p.name for p in outside.iterdir()] == ["secret"], ends
    assert (outside / "secret").read_bytes() == CANARY


def test_the_race_is_real(tmp_path: Path) -> None:
    """Whoever checks a path first and opens it afterwards reads the canary under this swapping."""
    work, outside = tmp_path / "work", tmp_path / "outside"
    for folder in (work, work / "d", outside):
        folder.mkdir()
    (outside / "secret").write_bytes(CANARY)
    (work / "f").write_bytes(b"mine")
    until = time.monotonic() + 60
    read_it = False
    with Swapper(work, outside):
        while not read_it and time.monotonic() < until:
            try:
                if not (work / "f").is_symlink():
                    read_it = (work / "f").read_bytes() == CANARY
            except OSError:
                continue
    assert read_it
