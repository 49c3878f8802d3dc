"""Who a terminal belongs to is what the kernel says."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.console import peer
from adapters.contract import Identity

sys.path.append(str(Path(__file__).parent))

from raw_terminal import RawTerminal
from small_bridge import SmallBridge

NOBODY = 65534
SPEAKER = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); f = s.makefile("rwb")
f.write(b'{"type":"hello","version":2,"conversation":"%s"}\\n' % sys.argv[2].encode())
f.write(b'{"type":"say","key":"nobody-key-1","text":"say hello"}\\n')
f.flush()
for line in f:
    print(line.decode(), end="", flush=True)
    if b'"taken"' in line: break
"""


@pytest.fixture
async def bridge():
    made = SmallBridge()
    made.owner_uid = os.getuid()
    await made.start()
    yield made
    await made.close()


async def test_owner_is_known(bridge: SmallBridge) -> None:
    """A process of the home's owner is the owner of the host."""
    terminal = await RawTerminal.at(bridge.path, conversation="main")
    await terminal.say("say hello", "owner-key-1")
    sender = bridge.received[0].sender
    assert sender.host_owner is True
    assert sender.identity == Identity("console", "local", str(os.getuid()))
    assert sender.name
    terminal.close()


@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("setpriv") or not Path("/usr/bin/python3").exists(),
    reason="only root can speak as somebody else",
)
async def test_another_user_is_somebody_else(bridge: SmallBridge) -> None:
    """Another user is never the owner, and finds a conversation of their own under any name."""
    owner = await RawTerminal.at(bridge.path, conversation="main")
    await owner.say("say secret", "owner-key-1")
    await owner.get("post")
    bridge.root.chmod(0o755)
    bridge.path.parent.chmod(0o755)
    bridge.path.chmod(0o666)
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    speaker = [*as_nobody, "/usr/bin/python3", "-I", "-c", SPEAKER, str(bridge.path), "main"]
    done = await asyncio.to_thread(
        subprocess.run, speaker, capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert "taken" in done.stdout, done.stderr
    assert "secret" not in done.stdout
    sender = bridge.received[-1].sender
    assert sender.host_owner is False
    assert sender.identity.user == str(NOBODY)
    assert bridge.received[-1].address != bridge.received[0].address
    owner.close()


def test_user_without_an_entry_has_a_name() -> None:
    """A user id that the system has no name for is still named for people."""
    who = peer.sender(4_000_000_000, owner_uid=0)
    assert who.name == "user 4000000000"
    assert who.host_owner is False
