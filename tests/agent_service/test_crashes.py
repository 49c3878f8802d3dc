"""What is left when processes are killed or the disk is full: nothing lost, nothing run twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Turn, session_processes
from tests.agent_service.process import ProcessAgent, claude_process

SLOW = "slow 30 one two three four five six seven eight nine ten"


async def until(condition: object, seconds: float = 30) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.02)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


async def test_a_killed_cli_ends_its_turn_only(process: ProcessAgent) -> None:
    """A CLI that dies in the middle is told as that at once, and the next message works."""
    await process.turn("my name is Wilhelmina")
    turn_id = await process.put(SLOW)
    await process.until_running(turn_id)
    claude_process(process.home).kill()
    turn = Turn(turn_id, await process.caller.events(turn_id))
    assert (turn.last["outcome"], turn.last["reason"]) == ("failed", "agent_crashed")
    assert turn.last["message"]
    assert turn.last["remedy"]
    assert "Wilhelmina" in (await process.turn("what is my name")).text


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.full)]
)
async def test_a_service_that_ends_in_a_turn_finishes_it_as_interrupted(
    process: ProcessAgent, number: signal.Signals
) -> None:
    """The turn ends as interrupted and is not run again; its numbers never come twice; no process
    is left; the next turn knows what was said before."""
    await process.turn("my name is Wilhelmina")
    turn_id = await process.put(SLOW)
    seen: list[int] = []
    async with asyncio.timeout(60):
        async for numbered, event in process.caller.stream(f"/v1/turns/{turn_id}/events"):
            seen.append(numbered)
            if event["kind"] == "text.delta":
                break
    await process.kill(number)
    await process.no_sessions()
    before = len(process.model.requests)
    await process.start()
    turn = Turn(turn_id, await process.caller.events(turn_id, after=seen[-1]))
    assert (turn.last["outcome"], turn.last["reason"]) == ("failed", "interrupted")
    assert turn.last["remedy"]
    assert min(turn.numbers) > max(seen)
    assert len(process.model.requests) == before
    assert "Wilhelmina" in (await process.turn("what is my name")).text


async def test_a_waiting_decision_survives_and_runs_once(process: ProcessAgent) -> None:
    """A decision outlives the service; allowed afterwards, its call runs exactly once."""
    turn = await process.turn("bash echo run >> once.txt")
    assert turn.last["kind"] == "turn.waiting"
    await process.kill()
    await process.start()
    status, view = await process.caller.call("GET", f"/v1/turns/{turn.id}")
    assert (status, view["state"]) == (200, "waiting")
    after = await process.decided(turn, "allow")
    assert after.last["outcome"] == "completed"
    assert min(after.numbers) > max(turn.numbers)
    await process.kill()
    await process.start()
    assert (await process.turn("say onwards")).text == "onwards"
    assert lines(process.work / "once.txt") == ["run"]


async def test_a_released_command_is_asked_about_again(process: ProcessAgent) -> None:
    """Killed in the middle of a command: nothing runs it a second time, but a person's answer."""
    turn = await process.turn("bash echo run >> once.txt; sleep 30; echo end >> once.txt")
    status, answer = await process.decide(turn, "allow")
    assert status == 200, answer
    await until(lambda: lines(process.work / "once.txt"))
    await process.kill()
    await process.start()
    assert session_processes(process.home) == []
    after = Turn(turn.id, await process.caller.events(turn.id, after=turn.numbers[-1]))
    asked = after.decision
    assert (asked["again"], asked["shown"]) == (True, turn.decision["shown"])
    assert asked["id"] != turn.decision["id"]
    assert "not known" in asked["why"]
    denied = await process.decided(after, "deny")
    assert denied.last["outcome"] == "completed"
    assert "not known" in denied.text
    # A laxer mode must not let it by either.
    for mode in ("acceptEdits", "default"):
        assert (await process.turn("say onwards", mode=mode)).text == "onwards"
    assert (await process.turn("bash ls")).last["outcome"] == "completed"
    assert lines(process.work / "once.txt") == ["run"]


async def test_what_was_said_after_a_decision_survives_a_kill(process: ProcessAgent) -> None:
    """The CLI's own note of where a deferred session stood must not lead back to there."""
    await process.allow_all("bash touch a; touch b")
    await process.turn("my name is Wilhelmina")
    running = await process.put(SLOW)
    await process.until_running(running)
    await process.kill()
    await process.start()
    assert "Wilhelmina" in (await process.turn("what is my name")).text


async def test_a_person_can_have_it_run_again(process: ProcessAgent) -> None:
    """Asked about again and allowed, the same call runs once more, and the turn goes on."""
    turn = await process.turn("bash echo run >> once.txt; sleep 2; echo end >> once.txt")
    await process.decide(turn, "allow")
    await until(lambda: lines(process.work / "once.txt"))
    await process.kill()
    await process.start()
    after = Turn(turn.id, await process.caller.events(turn.id, after=turn.numbers[-1]))
    done = await process.decided(after, "allow")
    assert done.last["outcome"] == "completed"
    assert lines(process.work / "once.txt") == ["run", "run", "end"]


async def test_an_answer_that_was_not_acted_on_yet_is_kept(process: ProcessAgent) -> None:
    """Killed between the answer and the release: the next start lets the call go, once."""
    turn = await process.turn("bash echo run >> once.txt")
    await process.decide(turn, "allow")
    await process.kill()
    await process.start()
    after = Turn(turn.id, await process.caller.events(turn.id, after=turn.numbers[-1]))
    if after.last["kind"] == "turn.waiting":  # the kill came after the release
        after = await process.decided(after, "deny")
        assert len(lines(process.work / "once.txt")) <= 1
    else:
        assert lines(process.work / "once.txt") == ["run"]
    assert after.last["outcome"] == "completed"


async def test_an_undecided_edit_is_never_run_by_a_laxer_mode(process: ProcessAgent) -> None:
    """A call that was under way when the service died is not let by in a mode that would."""
    turn = await process.turn("write secret.txt hi")
    await process.caller.call("POST", f"/v1/turns/{turn.id}/interrupt", {"by": "Ann"})
    await process.kill()
    await process.start()
    assert (await process.turn("say onwards", mode="acceptEdits")).text == "onwards"
    assert not (process.work / "secret.txt").exists()


async def test_queued_turns_survive_in_order(process: ProcessAgent) -> None:
    """Turns that had not begun run after the restart, one after the other, as they were put."""
    running = await process.put(SLOW)
    await process.until_running(running)
    queued = [await process.put(f"bash echo {word}") for word in ("first", "second")]
    await process.kill()
    await process.start()
    for turn_id in queued:
        events = await process.caller.events(turn_id)
        assert events[-1][1]["outcome"] == "completed"
    said = [said for request in process.model.requests if (said := newest(request.body))]
    assert [s for s in said if s.startswith("bash echo")][0::2] == [
        "bash echo first",
        "bash echo second",
    ]


def newest(body: object) -> str:
    """The newest words of a person in a request of a turn."""
    if not isinstance(body, dict) or not body.get("tools"):
        return ""
    for message in reversed(body["messages"]):
        if message["role"] == "user" and isinstance(message["content"], list):
            texts = [block["text"] for block in message["content"] if block["type"] == "text"]
            texts = [text for text in texts if not text.startswith("<")]
            if texts:
                return str(texts[0])
    return ""


async def test_what_a_command_left_behind_is_ended(process: ProcessAgent) -> None:
    """A process that a command left in the background ends with its session."""
    turn = await process.allow_all("bash sleep 1000 & echo left")
    assert turn.last["outcome"] == "completed"
    left = [p for p in session_processes(process.home) if p.name() == "sleep"]
    assert left
    status, _ = await process.caller.call("POST", "/v1/conversations/c1/close")
    assert status == 200
    assert not any(psutil.pid_exists(p.pid) and p.status() != "zombie" for p in left)
    assert session_processes(process.home) == []


async def test_what_a_command_left_behind_ends_after_a_kill(process: ProcessAgent) -> None:
    """The service was killed and could not end it: the next start does."""
    await process.allow_all("bash sleep 1000 & echo left")
    await process.kill()
    await process.start()
    assert session_processes(process.home) == []


# Two folders of the home on one small disk of their own, which only the service sees.
SMALL_DISK = """
set -e
cd "$1"; shift
mkdir -p disk agent workspaces
mount -t tmpfs -o size=24m,mode=700 tmpfs disk
mkdir disk/agent disk/workspaces
mount --bind disk/agent agent
mount --bind disk/workspaces workspaces
exec "$@"
"""


@pytest_asyncio.fixture
async def small(home: Path, model: ScriptedMessages) -> AsyncIterator[ProcessAgent]:
    """A service whose home is on a small disk."""
    alone = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-rm")
    before = (*alone, "sh", "-c", SMALL_DISK, "sh", str(home))
    made = ProcessAgent(home, model, before=before)
    await made.start()
    yield made
    await made.stop()
    await made.no_sessions()


class Ballast:
    """Fills the service's disk to the last byte, as other programs do."""

    def __init__(self, agent: ProcessAgent) -> None:
        inside = Path(f"/proc/{agent.process.pid}/root{agent.home}")
        self._file = inside / "disk" / "ballast"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._file.open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size) == size:
                        pass

    def free(self) -> None:
        self._file.unlink()


async def all_finished(agent: ProcessAgent, turn_ids: list[str]) -> None:
    """Wait until the service itself knows every turn as finished."""
    async with asyncio.timeout(60):
        for turn_id in turn_ids:
            while (await agent.caller.call("GET", f"/v1/turns/{turn_id}"))[1][
                "state"
            ] != "finished":
                await asyncio.sleep(0.2)


async def test_a_full_disk_is_told_and_passes(small: ProcessAgent) -> None:
    """No room: the message is refused or its turn ends saying so; with room again all works."""
    await small.turn("my name is Wilhelmina")
    ballast, told, turn_ids = Ballast(small), "", []
    ballast.fill()
    for number in range(40):
        turn_id = f"t_full_{number}"
        path, body = f"/v1/turns/{turn_id}", small.request("say " + "words " * 500)
        status, answer = await small.caller.call("PUT", path, body)
        if status == 507:
            told = answer["error"]["code"]
            assert answer["error"]["message"]
            assert answer["error"]["remedy"]
            break
        assert status == 200, answer
        turn_ids.append(turn_id)
        turn = Turn(turn_id, await small.caller.events(turn_id))
        assert turn.last["kind"] == "turn.finished"
        if turn.last["reason"] == "storage_full":
            assert turn.last["remedy"]
            told = "storage_full"
    assert told == "storage_full"
    ballast.free()
    assert "Wilhelmina" in (await small.turn("what is my name")).text
    await all_finished(small, turn_ids)


async def test_a_disk_that_fills_in_a_turn_does_not_hang_it(small: ProcessAgent) -> None:
    """Readers learn the end while the disk is full, and the service records it once it can."""
    ballast = Ballast(small)
    turn_id = await small.put("slow 2 one two three four")
    reader = asyncio.create_task(small.caller.events(turn_id))
    await small.until_running(turn_id)
    ballast.fill()
    turn = Turn(turn_id, await reader)
    assert turn.last["kind"] == "turn.finished"
    status, answer = await small.caller.call("PUT", "/v1/turns/t_no_room", small.request("say no"))
    assert (status, answer["error"]["code"]) == (507, "storage_full")
    ballast.free()
    await all_finished(small, [turn_id])
    assert (await small.turn("say onwards")).text == "onwards"
