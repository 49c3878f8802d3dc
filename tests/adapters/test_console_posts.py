"""What the console remembers, and what it forgets."""

from __future__ import annotations

import dataclasses
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.console.files import keep
from adapters.console.posts import HISTORY, KEEP, Posts
from adapters.console.protocol import Body, Post, Said
from adapters.contract import ConversationView, FileOut, MessageOut
from adapters.testing import RecordingHost

sys.path.append(str(Path(__file__).parent))

from console_harness import console
from raw_terminal import RawTerminal


@pytest.fixture
def posts(tmp_path: Path) -> Posts:
    return Posts(tmp_path)


def test_newest_are_kept(posts: Posts) -> None:
    """A conversation keeps its newest entries; older ones go, with their files, and are gone."""
    file = FileOut("a.txt", "text/plain", b"x")
    directory = posts.files_of("1/main", "k0")
    first = posts.send("1/main", "k0", Body(markdown="0", files=keep(directory, [file])))
    other = posts.send("1/other", "k0", Body(markdown="elsewhere"))
    assert directory.exists()
    for number in range(1, KEEP + 1):
        posts.send("1/main", f"k{number}", Body(markdown=str(number)))
    assert posts.find(first.ref) is None
    assert posts.edit(first.ref, Body(markdown="late")) is None
    assert not directory.exists()
    assert posts.find(other.ref) == ("1/other", "k0")
    assert len(posts.recent("1/main", 0)) == KEEP
    assert [e.body.markdown for e in posts.recent("1/main", None)][-1] == str(KEEP)
    assert len(posts.recent("1/main", None)) == HISTORY


def test_changes_are_numbered_over_restarts(tmp_path: Path) -> None:
    """A change after a restart is newer than any before, whatever was dropped meanwhile."""
    before = Posts(tmp_path).send("1/main", "k1", Body(markdown="x"))
    after = Posts(tmp_path).send("1/main", "k2", Body(markdown="y"))
    assert after.rev > before.rev


def test_message_has_its_place_before_its_answer(posts: Posts) -> None:
    """A message is shown once the bridge has it, in front of an answer that was faster."""
    posts.note_said("1/main", "key", "question")
    answer = posts.send("1/main", "k1", Body(markdown="answer"))
    assert posts.recent("1/main", None) == (answer,)
    assert posts.mark("1/main", "key", "working") is not None
    said = posts.show_said("1/main", "key")
    assert said is not None
    assert said.mark == "working"
    assert posts.show_said("1/main", "key") is None
    assert [type(entry) for entry in posts.recent("1/main", None)] == [Said, Post]


def test_mark_of_nobody(posts: Posts) -> None:
    """A mark on a message that is not kept is nothing."""
    assert posts.mark("1/main", "nobody", "done") is None


class IdleHost(RecordingHost):
    """A bridge in whose conversations nothing goes on any more."""

    async def conversations(self, who):
        addresses = {message.address for message in self.messages}
        now = datetime.now(UTC)
        return [ConversationView(address, "", "idle", now) for address in addresses]


async def test_lost_mark_does_not_last_for_ever() -> None:
    """Where an earlier process died before the last mark, a terminal that comes sees it ended."""
    async with console() as harness:
        host = IdleHost()
        adapter = await harness.start(host)
        await harness.say("hello", key="lost-mark")
        await adapter.react(harness.place, host.messages[0].keys[0], "working")
        terminal = await RawTerminal.at(harness.path, conversation="main")
        (said,) = (await terminal.get("welcome"))["entries"]
        assert said["mark"] == "done"
        terminal.close()


async def test_file_that_went_is_no_obstacle() -> None:
    """Somebody who removes a kept file, or the directory, breaks no later post."""
    async with console() as harness:
        adapter = await harness.start(RecordingHost())
        file = FileOut("a.txt", "text/plain", b"one")
        post = MessageOut("one", files=(file,))
        ref = await adapter.send(harness.place, post, "file-1")
        (kept,) = [f for _, body in await _posts(harness) for f in body.files]
        Path(kept.path).unlink()
        Path(kept.path).parent.rmdir()
        again = dataclasses.replace(post, markdown="two")
        await adapter.edit(harness.place, ref, again)
        assert Path(kept.path).read_bytes() == b"one"


async def _posts(harness):
    await harness.read("ann")
    return list(harness.transcript.posts())
