"""Killed around a decision: per answer the command runs at most once, and people are told what is
known."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import tempfile
from pathlib import Path

import aiohttp
import pytest

from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Turn, make_home
from tests.agent_service.process import ProcessAgent, claude_process
from tests.agent_service.test_crashes import lines, until

COMMAND = "bash echo begin >> once.txt; sleep 0.4; echo end >> once.txt"


async def rest_of(agent: ProcessAgent, turn: Turn) -> Turn:
    return Turn(turn.id, await agent.caller.events(turn.id, after=turn.numbers[-1]))


async def killed_once(agent: ProcessAgent, outcome: str, seconds: float | None, number: int) -> str:
    """A decision is answered and the service killed so long after, or as soon as the command has
    begun; gives what was seen then."""
    file = agent.work / "once.txt"
    file.unlink(missing_ok=True)
    turn = await agent.turn(COMMAND, conversation=f"c{number}")
    taken = asyncio.create_task(agent.decide(turn, outcome))
    if seconds is None:
        await until(lambda: lines(file))
    else:
        await asyncio.sleep(seconds)
    await agent.kill()
    answered = False
    with contextlib.suppress(aiohttp.ClientError, OSError):
        answered = (await taken)[0] == 200
    ran = len([line for line in lines(file) if line == "begin"])
    await agent.start()
    view = await agent.caller.call("GET", f"/v1/turns/{turn.id}")
    if view[1]["state"] == "waiting" and view[1]["decision"] == turn.decision["id"]:
        assert not answered  # the click was lost with the service, and can be made again
        assert ran == 0
        assert (await agent.decide(turn, outcome))[0] == 200
        what = "clicked again"
    else:
        what = "taken"
    after = await rest_of(agent, turn)
    if after.last["kind"] == "turn.waiting" and after.decision["again"]:
        assert outcome == "allow"
        before = lines(file)
        after = await agent.decided(after, "deny")
        assert lines(file) == before  # nothing ran a second time
        assert before.count("begin") <= 1
        what = "asked again"
    elif outcome == "deny":
        assert lines(file) == []
    elif after.last["outcome"] == "completed":
        assert lines(file) == ["begin", "end"]
    else:
        # It was over but for the words, or the agent saw the service go a moment before it was
        # ended itself, and gave the call up: that is told.
        assert after.last["reason"] == "interrupted"
        assert after.last["remedy"]
        assert lines(file) in ([], ["begin", "end"])
        what = "interrupted"
    assert lines(file).count("begin") <= 1
    return what


async def storm(points: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    seen = []
    async with ScriptedMessages() as model:
        agent = ProcessAgent(home, model)
        await agent.start()
        try:
            for number in range(points):
                outcome = "deny" if number % 5 == 4 else "allow"
                at = [0.0, 0.01, rng.uniform(0, 0.6), rng.uniform(0.6, 2.5), None]
                seconds = rng.choice(at[:-1] if outcome == "deny" else at)
                seen.append(await killed_once(agent, outcome, seconds, number))
        finally:
            await agent.stop()
            await agent.no_sessions()
    shutil.rmtree(home, ignore_errors=True)
    return seen


async def test_a_few_kills_around_an_answer() -> None:
    """Two points, so that it is quick; the storm has fifty."""
    assert len(await storm(2, 1)) == 2


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_fifty_kills_around_an_answer() -> None:
    """Before, after and in the middle: at most once, never where denied, always where undisturbed;
    every way of ending is seen."""
    seen = await storm(50, 7)
    assert {"taken", "asked again"} <= set(seen), seen


async def test_killed_while_it_waits_it_still_can_be_answered(process: ProcessAgent) -> None:
    """Three kills before the click: one decision, one run."""
    turn = await process.turn(COMMAND)
    for _ in range(3):
        await process.kill()
        await process.start()
    turn = await process.decided(turn, "allow")
    assert turn.last["outcome"] == "completed"
    assert lines(process.work / "once.txt") == ["begin", "end"]


async def test_the_agent_alone_dies_in_the_middle(process: ProcessAgent) -> None:
    """Only the CLI is killed while the command runs: the same turn asks again at once."""
    turn = await process.turn("bash echo begin >> once.txt; sleep 30; echo end >> once.txt")
    await process.decide(turn, "allow")
    await until(lambda: lines(process.work / "once.txt"))
    claude_process(process.home).kill()
    after = await rest_of(process, turn)
    assert after.decision["again"] is True
    assert after.decision["shown"] == turn.decision["shown"]
    await process.no_sessions()
    done = await process.decided(after, "deny")
    assert done.last["outcome"] == "completed"
    assert lines(process.work / "once.txt") == ["begin"]


async def test_stopped_in_the_middle_it_asks_again(process: ProcessAgent) -> None:
    """SIGTERM in the middle of a command that was let go: the next start asks."""
    turn = await process.turn("bash echo begin >> once.txt; sleep 30; echo end >> once.txt")
    await process.decide(turn, "allow")
    await until(lambda: lines(process.work / "once.txt"))
    await process.kill(signal.SIGTERM)
    await process.no_sessions()
    await process.start()
    after = await rest_of(process, turn)
    assert after.decision["again"] is True
    assert (await process.decided(after, "deny")).last["outcome"] == "completed"
    assert lines(process.work / "once.txt") == ["begin"]


async def test_what_changed_in_between_is_not_run(process: ProcessAgent) -> None:
    """The transcript or the file is rewritten while the service is down: the answer lets nothing
    go that was not shown."""
    (process.work / "doc.txt").write_text("one\n")
    turn = await process.turn("bash echo shown > shown.txt", conversation="c-text")
    edit = await process.turn("edit doc.txt one => two", conversation="c-file")
    assert edit.decision["tool"] == "Edit"
    await process.kill()
    rewritten = 0
    for path in (process.work.parent / "config").glob("projects/*/*.jsonl"):
        text = path.read_text()
        new = text.replace("echo shown > shown.txt", "echo other > other.txt")
        rewritten += new != text
        path.write_text(new)
    assert rewritten == 1
    (process.work / "doc.txt").write_text("one, changed\n")
    await process.start()
    for asked in (turn, edit):
        after = await process.decided(asked, "allow")
        assert not any(ok for ok, _ in after.results())
        if after.last["kind"] == "turn.waiting":  # made anew, it is asked about anew
            assert after.decision["id"] != asked.decision["id"]
            await process.decided(after, "deny")
    assert not (process.work / "shown.txt").exists()
    assert not (process.work / "other.txt").exists()
    assert (process.work / "doc.txt").read_text() == "one, changed\n"
