"""What terminals and the console adapter say to each other, wrong things above all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.console import PLUGIN
from adapters.console.protocol import LINE_LIMIT, Malformed, read_down, read_up
from adapters.contract import AdapterContext, Choice, FileOut, MessageOut, SetupInvalid
from adapters.testing import RecordingHost

sys.path.append(str(Path(__file__).parent))

from console_harness import ConsoleHarness, console
from raw_terminal import RawTerminal

MALFORMED = [
    b"\n",
    b"no json\n",
    b"{}\n",
    b"[1, 2]\n",
    b'{"type": "say", "key": "long-enough"}\n',
    b'{"type": "say", "key": "short", "text": "x"}\n',
    b'{"type": "say", "key": "with/slash/in/it", "text": "x"}\n',
    b'{"type": "say", "key": "long-enough", "text": "\\ud800"}\n',
    b'{"type": "say", "key": "long-enough", "text": "\xff"}\n',
    b'{"type": "fly"}\n',
    b'{"type": "hello", "version": 2}\n',
]


@pytest.fixture
async def harness():
    async with console() as made:
        made.host = RecordingHost()
        made.adapter = await made.start(made.host)
        yield made


@pytest.mark.parametrize("line", MALFORMED, ids=repr)
async def test_malformed_line_is_answered(harness: ConsoleHarness, line: bytes) -> None:
    """A line that means nothing gets a word of trouble, and the connection goes on."""
    terminal = await RawTerminal.at(harness.path, conversation="main")
    terminal.put(line)
    assert (await terminal.get("trouble"))["fatal"] is False
    assert (await terminal.say("still here", "key-after-1"))["type"] == "taken"
    terminal.close()


async def test_line_too_long_is_skipped(harness: ConsoleHarness) -> None:
    """A line over the limit is skipped whole, and the next one is taken."""
    terminal = await RawTerminal.at(harness.path, conversation="main")
    terminal.put(b"x" * (LINE_LIMIT * 2 + 5) + b"\n")
    assert "bytes" in (await terminal.get("trouble"))["message"]
    assert (await terminal.say("next", "key-after-1"))["type"] == "taken"
    assert [said.text for said in harness.host.messages] == ["next"]
    terminal.close()


@pytest.mark.parametrize(
    ("hello", "word"),
    [
        ({"version": 1}, "version"),
        ({"conversation": "../etc"}, "name"),
        ({"conversation": ""}, "name"),
        ({"conversation": "x" * 65}, "name"),
        ({"type": "say", "key": "long-enough", "text": "x"}, "greeting"),
        ({"version": "one"}, "greeting"),
        ({"since": 1e23}, "since"),
        ({"since": 2**63}, "since"),
        ({"since": -1}, "since"),
    ],
    ids=repr,
)
async def test_bad_greeting_is_the_end(harness: ConsoleHarness, hello, word) -> None:
    """Who cannot be served is told why before the connection ends."""
    terminal = await RawTerminal.at(harness.path, **hello)
    trouble = await terminal.get("trouble")
    assert trouble["fatal"] is True
    assert word in trouble["message"]
    assert await terminal.get() is None
    terminal.close()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(line=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_any_line_is_a_value_or_malformed(line: bytes) -> None:
    """Nothing that is said can raise anything else than `Malformed`."""
    for read in (read_up, read_down):
        with contextlib.suppress(Malformed):
            read(line)


async def test_terminals_see_the_same(harness: ConsoleHarness) -> None:
    """Two terminals in one conversation see each other's words, the answers and the marks."""
    one = await RawTerminal.at(harness.path, conversation="main")
    two = await RawTerminal.at(harness.path, conversation="main")
    other = await RawTerminal.at(harness.path, conversation="other")
    for terminal in (one, two, other):
        await terminal.get("welcome")
    await one.say("hello", "key-one-1")
    assert (await two.get("said"))["text"] == "hello"
    key = harness.host.messages[0].keys[0]
    await harness.adapter.react(harness.place, key, "done")
    await harness.adapter.send(harness.place, MessageOut("hi"), "post-1")
    await harness.adapter.status(harness.place, "is thinking")
    for terminal in (one, two):
        assert (await terminal.get("marked"))["mark"] == "done"
        assert (await terminal.get("post"))["body"]["markdown"] == "hi"
        assert (await terminal.get("status"))["text"] == "is thinking"
    await other.say("barrier", "key-other-1")
    for terminal in (one, two, other):
        terminal.close()


async def test_history_comes_back(harness: ConsoleHarness) -> None:
    """After a restart of the bridge a terminal finds what was said, marks and choices included."""
    await harness.say("question", key="history-1")
    choice = Choice("d:1:allow", "Allow")
    await harness.adapter.react(harness.place, harness.host.messages[0].keys[0], "working")
    await harness.adapter.send(
        harness.place, MessageOut("May I?", (choice,), tone="decision"), "post-1"
    )
    await harness.stop()
    await harness.start(harness.host)
    terminal = await RawTerminal.at(harness.path, conversation="main")
    said, post = (await terminal.get("welcome"))["entries"]
    assert (said["text"], said["mark"]) == ("question", "working")
    assert post["body"]["choices"][0]["label"] == "Allow"
    terminal.close()


async def test_who_was_away_gets_what_changed(harness: ConsoleHarness) -> None:
    """A terminal that names the last change it saw gets all that is newer, and only that."""
    await harness.adapter.send(harness.place, MessageOut("old"), "post-1")
    ref = await harness.adapter.send(harness.place, MessageOut("growing"), "post-2")
    terminal = await RawTerminal.at(harness.path, conversation="main")
    seen = max(entry["rev"] for entry in (await terminal.get("welcome"))["entries"])
    terminal.close()
    await harness.adapter.edit(harness.place, ref, MessageOut("grown"))
    await harness.adapter.send(harness.place, MessageOut("new"), "post-3")
    terminal = await RawTerminal.at(harness.path, conversation="main", since=seen)
    entries = (await terminal.get("welcome"))["entries"]
    assert [entry["body"]["markdown"] for entry in entries] == ["grown", "new"]
    terminal.close()


async def test_refused_message_is_no_history(harness: ConsoleHarness) -> None:
    """What the bridge did not store is told to its terminal and shown to nobody."""
    terminal = await RawTerminal.at(harness.path, conversation="main")
    harness.host.refuse = 1
    refused = await terminal.say("lost?", "key-refused-1")
    assert (refused["type"], refused["remedy"]) == ("refused", "Make room.")
    again = await RawTerminal.at(harness.path, conversation="main")
    assert (await again.get("welcome"))["entries"] == []
    assert (await terminal.say("lost?", "key-refused-1"))["type"] == "taken"
    for one in (terminal, again):
        one.close()


async def test_terminal_that_does_not_read_harms_nobody(harness: ConsoleHarness) -> None:
    """A terminal that stops reading holds up neither the bridge nor another terminal."""
    deaf = await RawTerminal.at(harness.path, conversation="main")
    await deaf.get("welcome")
    ref = await harness.adapter.send(harness.place, MessageOut("x"), "post-1")
    async with asyncio.timeout(60):
        for number in range(300):
            text = f"{number} " + "y" * 15_000
            await harness.adapter.edit(harness.place, ref, MessageOut(text, final=False))
        await harness.adapter.edit(harness.place, ref, MessageOut("the end"))
    assert (await harness.read("ann"))[0].text == "the end"
    while (await deaf.get("post"))["body"]["markdown"] != "the end":
        pass
    deaf.close()


async def test_file_names_lead_nowhere(harness: ConsoleHarness) -> None:
    """A file is kept in the adapter's own directory, whatever it calls itself."""
    names = ["../../etc/passwd", "/etc/passwd", "..", "", ".ssh", "a\x1b[2Jb\n.txt", "ü" * 300]
    files = tuple(FileOut(name, "text/plain", name.encode()) for name in names)
    await harness.adapter.send(harness.place, MessageOut("files", files=files), "post-1")
    kept = [body for _, body in harness.transcript.posts() for body in body.files]
    while not kept:
        await harness.news.wait()
        kept = [body for _, body in harness.transcript.posts() for body in body.files]
    home = (harness.root / "state" / "files").resolve()
    for name, file in zip(names, kept, strict=True):
        path = Path(file.path)
        assert path.resolve().parent.parent == home
        assert path.read_bytes() == name.encode()
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.name.isprintable()


async def test_stale_socket_is_replaced_and_a_served_one_is_not() -> None:
    """A socket that a crash left is no obstacle; that of a running bridge is never taken over."""
    async with console() as one:
        await one.start(RecordingHost())
        assert one.path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(SetupInvalid, match="already serves"):
            await one.make(_context(one.root), uid_of=lambda _: 1000).run(RecordingHost())
        await one.stop()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(one.path))
        await one.start(RecordingHost())
        assert (await one.say("hello", key="after-stale")) is True


def test_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    """A home whose socket path no kernel takes is refused with a way out."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with pytest.raises(SetupInvalid) as caught:
        PLUGIN.create(_context(deep))
    assert "shorter" in caught.value.remedy
    assert caught.value.fields == ("BASCULE_HOME",)


def test_memory_that_is_damaged_is_named(tmp_path: Path) -> None:
    """A memory that is no database stops the start with a way out."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "console.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(SetupInvalid) as caught:
        PLUGIN.create(_context(tmp_path))
    assert "console.db" in caught.value.remedy


def _context(root: Path):
    return AdapterContext({}, root / "state", root / "run", owner_uid=1000)
