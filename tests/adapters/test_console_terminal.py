"""`bascule chat` in a real terminal, as a person uses it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from adapters.console.chat import Chat
from adapters.console.protocol import Taken
from adapters.contract import ActionIn, CommandIn, MessageOut

sys.path.append(str(Path(__file__).parent))

from small_bridge import SmallBridge
from tmux import Terminal


@pytest.fixture
async def bridge():
    made = SmallBridge()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def terminal(bridge: SmallBridge):
    made = Terminal()
    await made.start(bridge.path)
    yield made
    await made.close()


def chosen(bridge: SmallBridge) -> list[str]:
    return [one.action for one in bridge.received if isinstance(one, ActionIn)]


async def test_answer_streams_and_stays_once(bridge: SmallBridge, terminal: Terminal) -> None:
    """Text is seen while it grows, with what goes on; at the end it is there once."""
    await terminal.says("grow one two three | four five")
    await terminal.until(
        lambda shown: re.search(r"^one two three$", shown, re.M) and "Ctrl-C stops" in shown,
        "growing text",
    )
    bridge.go.set()
    await terminal.sees("\none two three four five\n")
    shown = await terminal.until(lambda shown: "Ctrl-C stops" not in shown, "its end")
    assert shown.count("one two three") == 2, "what was asked, and the answer"


async def test_markdown_is_rendered(bridge: SmallBridge, terminal: Terminal) -> None:
    """Markdown is shown as what it means."""
    await terminal.says("say **strong** and `code`")
    await terminal.sees("\nstrong and code")


async def test_steps_are_shown(bridge: SmallBridge, terminal: Terminal) -> None:
    """A step is seen running; at its end how it went, with the detail of a failure."""
    await terminal.says("steps")
    shown = await terminal.sees("✓ Read notes.txt", "✗ Run make", "exit status 2", "That did not")
    order = [shown.index(text) for text in ("I look first.", "✓ Read notes.txt", "That did not")]
    assert order == sorted(order)


async def test_choice_by_one_key(bridge: SmallBridge, terminal: Terminal) -> None:
    """A decision's card offers its choices, and one key takes one."""
    await terminal.says("ask me")
    await terminal.sees("May I run this?", "[1] Allow once", "[2] Deny", "Waiting for your answer")
    await terminal.presses("1")
    shown = await terminal.sees("You said allow", "Over: allow")
    assert "[1]" not in shown
    assert [action.rpartition(":")[2] for action in chosen(bridge)] == ["allow"]


async def test_choice_with_a_form(bridge: SmallBridge, terminal: Terminal) -> None:
    """A choice with a form asks for its fields; Esc leaves it; an empty answer is asked again."""
    await terminal.says("ask me")
    await terminal.sees("[3] Deny and say why")
    await terminal.presses("3")
    await terminal.sees("What instead?")
    await terminal.presses("Escape")
    await terminal.until(lambda shown: "What instead?" not in shown, "the form left")
    await terminal.presses("3")
    await terminal.sees("What instead?")
    await terminal.presses("Enter")
    await terminal.sees("An answer is needed")
    await terminal.says("use ninja")
    await terminal.sees("You said deny use ninja")
    (action,) = [one for one in bridge.received if isinstance(one, ActionIn)]
    assert action.values == (("reason", ("use ninja",)),)


async def test_other_keys_begin_a_message(bridge: SmallBridge, terminal: Terminal) -> None:
    """While a decision waits one can write, and is told that it queues."""
    await terminal.says("ask me")
    await terminal.sees("[1] Allow once")
    await terminal.says("say 1 and 2")
    await terminal.sees("(queued behind your decision)")
    assert chosen(bridge) == []
    await terminal.presses("2")
    await terminal.sees("You said deny", "\n1 and 2")


async def test_ctrl_c_stops_the_turn(bridge: SmallBridge, terminal: Terminal) -> None:
    """Ctrl-C stops what runs; where nothing does, it says how to leave."""
    await terminal.presses("C-c")
    await terminal.sees("Ctrl-D leaves.")
    await terminal.says("slow " + "word " * 60)
    await terminal.sees("Ctrl-C stops", "word word")
    await terminal.presses("C-c")
    await terminal.sees("Stopped.")
    assert bridge.stops == 1
    await terminal.says("say still here")
    await terminal.sees("\nstill here")


async def test_queued_messages_are_answered_in_order(
    bridge: SmallBridge, terminal: Terminal
) -> None:
    """What is written while it works is said to queue, and is answered afterwards."""
    await terminal.says("grow a b | c d")
    await terminal.sees("Ctrl-C stops")
    await terminal.says("say next")
    await terminal.sees("(queued behind what is running)")
    bridge.go.set()
    shown = await terminal.sees("\na b c d\n", "\nnext")
    assert shown.index("\na b c d\n") < shown.index("\nnext")


async def test_history(bridge: SmallBridge, terminal: Terminal) -> None:
    """Up-arrow brings back what was written, in the next run too."""
    await terminal.says("say remembered")
    await terminal.sees("\nremembered")
    await terminal.presses("Up", "Enter")
    await terminal.until(lambda shown: shown.count("\nremembered") == 2, "the answer again")
    await terminal.presses("C-d")
    await terminal.sees("left with 0")
    history = terminal.root / "bascule" / "chat_history"
    assert history.stat().st_mode & 0o777 == 0o600
    await terminal.again()
    await terminal.presses("Up", "Enter")
    await terminal.until(lambda _: bridge.texts == ["say remembered"] * 3, "a third one")


async def test_lines_in_one_message(bridge: SmallBridge, terminal: Terminal) -> None:
    """Alt-Enter, and Esc Enter, start a new line of the same message."""
    await terminal.types("say one")
    await terminal.presses("M-Enter")
    await terminal.types("two")
    await terminal.presses("Escape", "Enter")
    await terminal.says("three")
    await terminal.until(lambda _: bridge.texts, "a message")
    assert bridge.texts == ["say one\ntwo\nthree"]


async def test_commands(bridge: SmallBridge, terminal: Terminal) -> None:
    """`/word` and `!word` are commands that the bridge answers; `/quit` leaves."""
    await terminal.says("/whoami Now please")
    await terminal.sees("There is no command whoami.")
    await terminal.says("!Mode plan")
    await terminal.sees("There is no command mode.")
    commands = [one for one in bridge.received if isinstance(one, CommandIn)]
    assert [(c.name, c.rest) for c in commands] == [("whoami", "Now please"), ("mode", "plan")]
    await terminal.says("/quit")
    await terminal.sees("left with 0")


async def test_leaving_while_it_works(bridge: SmallBridge, terminal: Terminal) -> None:
    """Ctrl-D leaves and says that the turn goes on; coming back shows what became of it."""
    await terminal.says("grow a b | c d")
    await terminal.sees("Ctrl-C stops")
    await terminal.presses("C-d")
    await terminal.sees("The turn goes on.", "left with 0")
    bridge.go.set()
    await terminal.again()
    shown = await terminal.sees("› grow a b | c d", "\na b c d\n")
    assert shown.count("a b c d") == 1


async def test_a_terminal_that_is_gone_takes_its_chat_with_it(bridge: SmallBridge) -> None:
    """Where no signal tells, a terminal that was closed still ends the chat; it never spins on."""
    ours, its = os.openpty()
    words = (sys.executable, "-m", "adapters.console", "--socket", str(bridge.path))
    chat = await asyncio.create_subprocess_exec(
        *words, stdin=its, stdout=its, stderr=its, start_new_session=True
    )
    os.close(its)
    shown = b""
    while b"/help" not in shown:
        shown += await asyncio.to_thread(os.read, ours, 4096)
    os.close(ours)
    async with asyncio.timeout(30):
        assert await chat.wait() == 129


async def test_resize(bridge: SmallBridge, terminal: Terminal) -> None:
    """A terminal that changes its size, down to very little, goes on working."""
    await terminal.says("grow " + "word " * 15 + "| end")
    await terminal.sees("Ctrl-C stops")
    for width, height in ((30, 8), (12, 4), (120, 40), (80, 24)):
        await terminal.tmux("resize-window", "-x", str(width), "-y", str(height))
        await asyncio.sleep(0.3)
    bridge.go.set()
    await terminal.says("say still here")
    await terminal.sees("\nstill here")


async def test_bridge_restarts(bridge: SmallBridge, terminal: Terminal) -> None:
    """A bridge that restarts is said to be away; what was written meanwhile arrives once."""
    await terminal.says("say before")
    await terminal.sees("\nbefore")
    await bridge.stop()
    await terminal.sees("The bridge is away; trying again.")
    await terminal.says("say meanwhile")
    await bridge.start()
    shown = await terminal.sees("The bridge is back.", "\nmeanwhile")
    assert bridge.texts == ["say before", "say meanwhile"]
    assert shown.count("\nbefore") == 1


async def test_not_stored_gives_the_text_back(bridge: SmallBridge, terminal: Terminal) -> None:
    """What the bridge could not store is back on the line, and can be sent again."""
    bridge.full = True
    await terminal.says("say keep me")
    await terminal.sees("Not stored: The disk is full.", "Your text is back")
    bridge.full = False
    await terminal.presses("Enter")
    await terminal.sees("\nkeep me")


async def test_two_terminals(bridge: SmallBridge, terminal: Terminal) -> None:
    """What is said in one terminal is seen in another at the same conversation."""
    other = Terminal()
    try:
        await other.start(bridge.path)
        await terminal.says("say to both")
        await terminal.sees("\nto both")
        await other.sees("› say to both", "\nto both")
    finally:
        await other.close()


async def test_text_can_do_nothing_to_the_terminal(bridge: SmallBridge, terminal: Terminal) -> None:
    """Escape sequences from the agent are seen, and do nothing."""
    await terminal.says("say hello")
    await terminal.sees("\nhello")
    nasty = "\x1b[2J\x1b]0;taken over\x07before &#27;[2J after"
    await bridge.adapter.send(bridge.received[0].address, MessageOut(nasty), "nasty-1")
    shown = await terminal.sees("␛[2J␛]0;taken over␇before ", "[2J after")
    assert "\nhello" in shown
    title = await terminal.tmux("display-message", "-p", "#{pane_title}")
    assert "taken over" not in title


async def test_a_path_is_no_command(bridge: SmallBridge, terminal: Terminal) -> None:
    """Only a word of letters is a command; a message may begin with a path."""
    await terminal.says("/etc/passwd is a file, say what")
    await terminal.says("!5 is a number")
    await terminal.until(lambda _: len(bridge.texts) == 2, "two messages")
    assert bridge.texts == ["/etc/passwd is a file, say what", "!5 is a number"]
    assert not [one for one in bridge.received if isinstance(one, CommandIn)]


@pytest.mark.parametrize("code", ["\x1b[31m", "\x1b[<1M", "\x1b[<0;1;2;3m"])
async def test_colours_typed_in(bridge: SmallBridge, terminal: Terminal, code: str) -> None:
    """An escape sequence that is pasted without brackets breaks nothing."""
    await terminal.types(f"say {code}it")
    await terminal.presses("Enter")
    shown = await terminal.until(lambda _: bridge.texts, "a message")
    assert "Traceback" not in shown
    assert "Press ENTER" not in shown
    assert bridge.texts == ["say it"]


async def test_what_was_taken_is_not_kept(bridge: SmallBridge) -> None:
    """A terminal that is open for weeks does not keep every prompt."""
    _, terminal = os.openpty()
    with os.fdopen(terminal, "w") as out:
        chat = Chat(bridge.path, "main", bridge.root / "history", out)
        assert chat.submit("say one")
        [key] = chat._sent
        chat._take(Taken(key=key))
        assert chat._sent == {}


async def test_attach(terminal: Terminal, bridge: SmallBridge, tmp_path: Path) -> None:
    """A file of this machine goes with the next message, once, and can be taken away again."""
    file = tmp_path / "notes.txt"
    file.write_bytes(b"12345")
    await terminal.says(f"/attach {file}")
    await terminal.sees("Goes with your next message: notes.txt (5 bytes)")
    await terminal.says("/detach")
    await terminal.sees("Nothing is attached.")
    await terminal.says(f"/attach {tmp_path}")
    await terminal.sees("cannot be read")
    await terminal.says(f"/attach {file}")
    await terminal.says("read it")
    await terminal.sees("⎙ notes.txt", "notes.txt has 5 bytes")
