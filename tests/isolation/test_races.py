"""What an agent swaps while the service looks at it, and what is left of one that crashes."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Turn, make_home, session_processes
from tests.isolation.ordinary import OrdinaryAgent, give

OWN = "the workspace's own words"
SWAP = """
while [ ! -e stop ]; do
  ln -sfn $KEYS/bridge.keys link && mv -fT link file
  cp own copy && mv -f copy file
  rm -r folder; ln -s $KEYS folder
  rm folder; mkdir folder && cp own folder/bridge.keys
done
echo swapped
"""
"""A file and a folder, each in turn the workspace's own and a link to the service's."""
TRIES = 150


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent() -> AsyncIterator[OrdinaryAgent]:
    """A service with a workspace in it."""
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    async with ScriptedMessages() as model:
        made = OrdinaryAgent(home, model)
        await made.start()
        await made.turn("say hi")
        yield made
        await made.stop()
        await made.no_sessions()
    shutil.rmtree(home, ignore_errors=True)


async def answer(agent: OrdinaryAgent, method: str, url: str, body: bytes = b"") -> bytes:
    """What a call gives, whatever its status."""
    headers = agent.caller.header(method, url, body)
    async with agent.caller.http.request(method, url, data=body, headers=headers) as given:
        return await given.read()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_link_swapped_under_a_transfer(agent: OrdinaryAgent) -> None:
    """While the agent swaps a file and a folder for links as fast as it can, a download gives the
    workspace's own file or an error, an upload and a listing stay inside; a plain reader of the
    same path is led out, so the race is on."""
    work, keys = agent.work, agent.home / "secrets"
    (work / "own").write_text(OWN)
    (work / "swap.sh").write_text(SWAP.replace("$KEYS", str(keys)))
    (work / "file").write_text(OWN)
    (work / "folder").mkdir()
    give(work)
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    turn = await agent.turn("run bash swap.sh")
    swapping = asyncio.create_task(agent.decided(turn, "allow"))
    files = "/v1/workspaces/w1/file"
    led_out, own = set(), set()
    for _ in range(TRIES):
        for name in ("file", "folder/bridge.keys"):
            try:
                plain = (work / name).read_bytes()
            except OSError:
                plain = b""
            led_out.update({name} if plain == before["bridge.keys"] else ())
            given = await answer(agent, "GET", f"{files}?path={name}")
            own.update({name} if given == OWN.encode() else ())
            assert not any(key in given for key in before["bridge.keys"].split())
        listed = await answer(agent, "GET", "/v1/workspaces/w1/files?path=folder")
        assert b"admin.keys" not in listed
        await answer(agent, "PUT", f"{files}?path=folder/put.txt", b"put")
        await answer(agent, "DELETE", f"{files}?path=folder/admin.keys")
    (work / "stop").touch()
    assert (await swapping).last["outcome"] == "completed"
    assert led_out == {"file", "folder/bridge.keys"}
    assert own == led_out
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


@pytest.mark.asyncio(loop_scope="module")
async def test_a_crash_leaves_no_core(agent: OrdinaryAgent) -> None:
    """No process of a session may dump its memory, nor the service; a crashed one is replaced and
    its turn says so."""
    await agent.turn("my name is Wilhelmina", conversation="c-crash")
    for process in (*session_processes(agent.home), agent.process):
        try:
            limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it just ended
        (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
        assert core[4:6] == ["0", "0"], process
    turn_id = await agent.put("slow 30 " + "word " * 200, conversation="c-crash")
    await agent.until_running(turn_id)
    places = (agent.home, agent.work, Path.cwd())
    for process in session_processes(agent.home):
        if process.name() == "claude":
            process.send_signal(signal.SIGSEGV)
    turn = Turn(turn_id, await agent.caller.events(turn_id))
    assert (turn.last["outcome"], turn.last["reason"]) == ("failed", "agent_crashed")
    assert "ended in the middle" in turn.last["message"]
    await agent.no_sessions()
    found = [path for place in places for path in place.glob("core*") if path.is_file()]
    found += [path for path in agent.home.rglob("*") if path.name.startswith(("core.", "vgcore"))]
    assert found == []
    turn = await agent.turn("what is my name", conversation="c-crash")
    assert "Wilhelmina" in turn.text
