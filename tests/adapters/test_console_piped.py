"""`bascule chat` in a pipe, as a process of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from adapters.contract import MessageOut

sys.path.append(str(Path(__file__).parent))

from small_bridge import SmallBridge


@pytest.fixture
async def bridge():
    made = SmallBridge()
    await made.start()
    yield made
    await made.close()


async def chat(*arguments: str, given: bytes = b"", home: Path | None = None):
    """(exit code, output, errors) of one run."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "adapters.console",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"BASCULE_HOME": str(home or "/nowhere"), "PATH": "/usr/bin:/bin"},
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(given)
    return process.returncode, out.decode(), err.decode()


async def piped(bridge: SmallBridge, given: bytes, *arguments: str):
    return await chat("--socket", str(bridge.path), *arguments, given=given)


async def test_lines_are_answered_in_order(bridge: SmallBridge) -> None:
    """Each line is a message; only final answers are printed, in order, and the code is 0."""
    code, out, err = await piped(bridge, b"say one\n\n  \nslow two words\nsay three")
    assert (code, out, err) == (0, "one\ntwo words\nthree\n", "")
    assert bridge.texts == ["say one", "slow two words", "say three"]


async def test_one_message(bridge: SmallBridge) -> None:
    """`--ask` sends one message and reads no input."""
    code, out, err = await piped(bridge, b"say never", "--ask", "say hello")
    assert (code, out, err) == (0, "hello\n", "")
    assert bridge.texts == ["say hello"]


async def test_steps_and_files_are_beside_the_answer(bridge: SmallBridge) -> None:
    """What is no answer goes to the errors: steps as they end, files as paths."""
    code, out, err = await piped(bridge, b"steps\nfile\n")
    assert code == 0
    assert out == "I look first.\n\nThat did not work.\nHere it is.\n"
    assert "✓ Read notes.txt\n✗ Run make: exit status 2\n" in err
    assert Path(err.strip().rpartition(": ")[2]).read_bytes() == b"the report"


async def test_failed_message(bridge: SmallBridge) -> None:
    """A message that fails gives 1 and its error; the next line still works."""
    code, out, err = await piped(bridge, b"break it\nsay on\n")
    assert (code, out) == (1, "on\n")
    assert "Cannot break." in err


async def test_decision_ends_it(bridge: SmallBridge) -> None:
    """A turn that waits for a decision gives 3, its card, and the way to answer it."""
    code, out, err = await piped(bridge, b"ask me\nsay later\n", "--conversation", "work")
    assert (code, out) == (3, "")
    assert "May I run this?" in err
    assert "Really-really.\n" in err, "plain text needs no backslashes"
    assert "make \\." in err, "code keeps its own"
    assert "bascule chat --conversation work" in err
    assert "The 1 line that follows was not sent." in err
    assert bridge.texts == ["ask me"]


async def test_lines_after_a_decision_are_counted(bridge: SmallBridge) -> None:
    """Nothing is dropped without a word, however many lines there are."""
    code, _, err = await piped(bridge, b"ask me\n" + b"say it\n\n" * 500)
    assert code == 3
    assert "The 500 lines that follow were not sent." in err


async def test_a_writer_that_goes_on_is_not_waited_for(bridge: SmallBridge) -> None:
    """A decision ends it, although the pipe is still open; what came so far is counted."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "adapters.console", "--socket", str(bridge.path),
        stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    process.stdin.write(b"ask me\nsay one\nsay two\n")
    async with asyncio.timeout(60):
        err = await process.stderr.read()
        assert await process.wait() == 3
    assert b"At least 2 lines that follow were not sent." in err


async def test_a_hint_says_where_else_to_answer(bridge: SmallBridge) -> None:
    """A deployment that ends with the pipe names another way than coming back to it."""
    code, _, err = await piped(bridge, b"ask me\n", "--hint", "Do it there.")
    assert code == 3
    assert "This waits for your decision. Do it there." in err
    assert "bascule chat" not in err


async def test_two_pipes_in_one_conversation(bridge: SmallBridge) -> None:
    """Each prints what belongs to its own message, and nothing of the other's."""
    first = asyncio.create_task(piped(bridge, b"grow a | b", "--conversation", "shared"))
    while not bridge.texts:
        await asyncio.sleep(0.02)
    second = asyncio.create_task(piped(bridge, b"steps\nsay c", "--conversation", "shared"))
    while len(bridge.texts) < 2:
        await asyncio.sleep(0.02)
    bridge.go.set()
    assert await first == (0, "a b\n", "")
    code, out, err = await second
    assert (code, out) == (0, "I look first.\n\nThat did not work.\nc\n")
    assert "Read notes.txt" in err


async def test_an_empty_question_is_one(bridge: SmallBridge) -> None:
    """`--ask ""` is a message like any other: the bridge says what is wrong with it."""
    code, out, err = await piped(bridge, b"say never", "--ask", "")
    assert (code, out) == (1, "")
    assert "Cannot" in err
    assert bridge.texts == [""]


@pytest.mark.parametrize(
    ("env", "told"),
    [(b"BASCULE_HOME=x\xff", "not UTF-8 text"), (b"BASCULE_HOME=\n", "BASCULE_HOME: is empty")],
)
async def test_bad_env_file(tmp_path: Path, env: bytes, told: str) -> None:
    """What is wrong with where the deployment is, is said in words."""
    (tmp_path / ".env").write_bytes(env)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "adapters.console", "--ask", "x",
        cwd=tmp_path, stderr=asyncio.subprocess.PIPE, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 2
    assert told in err.decode()
    assert "Traceback" not in err.decode()


async def test_broken_text_is_named(bridge: SmallBridge) -> None:
    """A line that is no UTF-8 is named and not sent; the others work, and the code is 2."""
    code, out, err = await piped(bridge, b"say one\nsay \xff\xfe\nsay three\n")
    assert (code, out) == (2, "one\nthree\n")
    assert "Line 2 is not valid UTF-8" in err
    assert bridge.texts == ["say one", "say three"]


async def test_long_line_reaches_the_bridge(bridge: SmallBridge) -> None:
    """The length of a line is the bridge's business, far beyond what a prompt may have."""
    code, out, _ = await piped(bridge, b"say " + b"x" * 1_000_000 + b"\n")
    assert (code, out) == (0, "x" * 1_000_000 + "\n")


async def test_line_beyond_the_protocol(bridge: SmallBridge) -> None:
    """What cannot even be handed over is said, and the next line works."""
    code, out, err = await piped(bridge, b"say " + b"x" * 9_000_000 + b"\nsay on\n")
    assert (code, out) == (1, "on\n")
    assert "Line 1 is too long" in err


async def test_not_stored_is_said(bridge: SmallBridge) -> None:
    """A message that the bridge could not store fails with its reason and what to do."""
    bridge.full = True
    code, out, err = await piped(bridge, b"say one\n")
    assert (code, out) == (1, "")
    assert "Not stored: The disk is full. Make room." in err


async def test_runs_do_not_share_a_conversation(bridge: SmallBridge) -> None:
    """Each run starts afresh, unless it names a conversation."""
    await piped(bridge, b"say one\n")
    await piped(bridge, b"say two\n")
    code, out, _ = await piped(bridge, b"say three\n", "--conversation", "mine")
    assert (code, out) == (0, "three\n")
    code, out, _ = await piped(bridge, b"say four\n", "--conversation", "mine")
    assert (code, out) == (0, "four\n"), "history is not an answer"
    one, two, three, four = [said.address.channel for said in bridge.received]
    assert len({one, two, three}) == 3
    assert three == four == "0/mine" or three.endswith("/mine")


async def test_bad_name_is_refused(bridge: SmallBridge) -> None:
    """A conversation's name that cannot be is refused in words."""
    code, _, err = await piped(bridge, b"", "--conversation", "a/b")
    assert code == 1
    assert "1 to 64" in err


async def test_nobody_is_there(tmp_path: Path) -> None:
    """Without a bridge, the person is told how to start one."""
    code, out, err = await chat(given=b"say one\n", home=tmp_path)
    assert (code, out) == (1, "")
    assert err == (
        f"No Bascule is running on {tmp_path}. Start it with `bascule up`, or try `bascule demo`.\n"
    )


async def test_reader_may_leave(bridge: SmallBridge) -> None:
    """When nobody reads the output any more, it ends without a word."""
    lines = b"".join(b"say %d\n" % n for n in range(200))
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m adapters.console --socket {bridge.path} | head -n 1",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(lines)
    assert (out, err) == (b"0\n", b"")


async def test_bridge_restarts_meanwhile(bridge: SmallBridge) -> None:
    """A bridge that restarts in mid-turn loses nothing: the answer comes once."""
    asking = asyncio.create_task(piped(bridge, b"grow a | b"))
    while not bridge.texts:
        await asyncio.sleep(0.02)
    said = bridge.received[0]
    await bridge.stop()
    await bridge.start()
    answer = MessageOut("the answer", answers=said.keys[0])
    await bridge.adapter.send(said.address, answer, "post-again")
    await bridge.adapter.react(said.address, said.keys[0], "done")
    code, out, err = await asking
    assert code == 0
    assert out.endswith("the answer\n")
    assert "The bridge is away; trying again." in err
    assert len(bridge.texts) == 1


async def test_interrupt_stops_the_turn(bridge: SmallBridge) -> None:
    """Ctrl-C ends the program and stops what it asked for."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "adapters.console", "--socket", str(bridge.path),
        "--ask", "slow " + "word " * 200,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    while not bridge.texts:
        await asyncio.sleep(0.02)
    process.send_signal(2)
    async with asyncio.timeout(30):
        assert await process.wait() == 130
        while not bridge.stops:
            await asyncio.sleep(0.02)


async def test_files_go_with_the_message(bridge: SmallBridge, tmp_path: Path) -> None:
    """`--attach` hands files of this machine over; what cannot be read stops it before it asks."""
    large = tmp_path / "large ü.bin"
    large.write_bytes(b"x" * 3_000_001)
    empty = tmp_path / "empty"
    empty.touch()
    files = ("--attach", str(large), "--attach", str(empty))
    code, out, _ = await piped(bridge, b"", "--ask", "read", *files)
    assert (code, out) == (0, "large ü.bin has 3000001 bytes\nempty has 0 bytes\n")
    for wrong in (tmp_path / "nothing", tmp_path):
        code, _, err = await piped(bridge, b"", "--ask", "read", "--attach", str(wrong))
        assert code == 1
        assert str(wrong) in err
    assert bridge.texts == ["read"]
    code, _, err = await piped(bridge, b"say x", "--attach", str(large))
    assert (code, "--ask" in err) == (1, True)
