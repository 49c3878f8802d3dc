"""The whole path as an operator runs it: `bascule up` and what it does when things die."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from agent_service.testing import ScriptedMessages
from tests.deployment import API_KEY, Deployment, command


async def test_a_line_in_an_answer_out(up: Deployment) -> None:
    """A message travels through the console, the bridge and the real CLI, and its answer back."""
    code, out, err = await up.chat("say hello\n")
    assert (code, out.strip()) == (0, "hello"), err


async def test_a_conversation_is_remembered_over_a_restart(up: Deployment) -> None:
    """What was said in a named conversation is known after everything was stopped and started."""
    await up.chat("my name is Wilhelmina\n", "--conversation", "kept")
    assert await up.stop() == 0
    await up.nothing_left()
    await up.start()
    code, out, err = await up.chat("what is my name\n", "--conversation", "kept")
    assert code == 0, err
    assert "Wilhelmina" in out


async def test_the_request_id_runs_through_all_processes(place: Path) -> None:
    """One id stands in the log lines of the bridge and of the agent service about one message."""
    async with ScriptedMessages() as model:
        made = Deployment(place, model)
        await made.start()
        await made.chat("say hello\n")
        await made.stop()
        ids = [
            {line.get("request_id") for line in made.lines() if line["event"].startswith(event)}
            for event in ("message ", "turn.")
        ]
        shared = set.intersection(*ids) - {None}
        assert shared, made.text()
        await made.nothing_left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_everything(up: Deployment, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end all processes, those of a running agent included, with exit 0."""
    talking = asyncio.create_task(up.chat("slow 60 one two three four five six seven\n"))
    await up.until(lambda: any("claude" in p.name() for p in _seen(up)))
    assert await up.stop(number) == 0
    # Whatever is left after 5 s is killed, and that is told.
    assert "process.killed" not in up.text()
    assert up.everything() == []
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)


def _seen(up: Deployment) -> list[psutil.Process]:
    return [p for p in up.everything() if p.is_running()]


@pytest.mark.parametrize("module", ["agent_service", "bridge"])
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.full)]
)
async def test_what_dies_is_started_again(
    up: Deployment, module: str, number: signal.Signals
) -> None:
    """Each process that dies comes back, the reason is shown, and the next message is answered."""
    await up.chat("say warm\n")
    first = up.program(module)
    assert first is not None
    os.kill(first.pid, number)
    await up.until(lambda: (p := up.program(module)) is not None and p.pid != first.pid)
    await up.until(lambda: any(line["event"] == "process.restarted" for line in up.lines()))
    (ended,) = [line for line in up.lines() if line["event"] == "process.ended"]
    wanted = "killed by SIGKILL" if number == signal.SIGKILL else "exit code 0"
    assert ended["reason"] == wanted
    code, out, err = await up.chat("say back again\n")
    assert (code, out.strip()) == (0, "back again"), err


async def test_a_killed_supervisor_leaves_nothing(up: Deployment) -> None:
    """SIGKILL of `up` itself ends every process, and the next `up` waits for them and starts."""
    talking = asyncio.create_task(up.chat("slow 60 one two three four five six seven\n"))
    await up.until(lambda: any("claude" in p.name() for p in _seen(up)))
    await up.stop(signal.SIGKILL)
    await up.nothing_left()
    await up.start()
    code, out, err = await up.chat("say up again\n")
    assert (code, out.strip()) == (0, "up again"), err
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)


async def test_a_killed_bridge_loses_and_doubles_nothing(up: Deployment) -> None:
    """kill -9 of the bridge in the middle of an answer: after its restart the answer is whole and
    there once, and the message behind it is answered too."""
    talking = asyncio.create_task(
        up.chat("slow 4 one two three four five six\nsay and then\n", "--conversation", "kill")
    )
    await up.until(lambda: any("claude" in p.name() for p in _seen(up)))
    await asyncio.sleep(1)
    bridge = up.program("bridge")
    assert bridge is not None
    os.kill(bridge.pid, signal.SIGKILL)
    code, out, err = await talking
    assert code == 0, err
    assert out.split() == ["one", "two", "three", "four", "five", "six", "and", "then"], err


async def test_one_deployment_a_home(up: Deployment, place: Path) -> None:
    """A second `up` on the same home says so and leaves the first one alone."""
    code, _, err = await command("up", home=place)
    assert code == 2
    assert "Another Bascule runs on" in err
    code, out, _ = await up.chat("say undisturbed\n")
    assert (code, out.strip()) == (0, "undisturbed")


async def test_each_program_knows_its_own_secrets_only(up: Deployment) -> None:
    """The bridge never holds the model's key, and no log line shows it."""
    await up.chat("say hello\n")
    bridge = up.program("bridge")
    assert bridge is not None
    assert API_KEY not in " ".join(bridge.environ().values())
    assert API_KEY not in up.text()


async def test_an_agent_service_that_dies_in_mid_turn_is_told(up: Deployment) -> None:
    """The person reads that the turn was interrupted, and the turn is not run again by itself."""
    talking = asyncio.create_task(up.chat("slow 60 one two three four five six seven\n"))
    await up.until(lambda: any("claude" in p.name() for p in _seen(up)))
    await asyncio.sleep(1)
    agent = up.program("agent_service")
    assert agent is not None
    os.kill(agent.pid, signal.SIGKILL)
    code, _, err = await talking
    assert code == 1
    assert "stopped while this ran" in err
    code, out, _ = await up.chat("say next\n")
    assert (code, out.strip()) == (0, "next")


BAD = [
    ({"BRIDGE_LISTEN": "nonsense"}, "BRIDGE_LISTEN"),
    ({"BRIDGE_ADAPTERS": "telepathy"}, "telepathy"),
    ({"BRIDGE_ADAPTORS": "console"}, "did you mean BRIDGE_ADAPTERS"),
    ({"AGENT_UPSTREAM_URL": "not a url"}, "AGENT_UPSTREAM_URL"),
    ({"BASCULE_HOME": "/proc/nowhere"}, "BASCULE_HOME"),
    ({"BASCULE_HOME": "/tmp/" + "long" * 30}, "too long"),
]


@pytest.mark.parametrize(("settings", "told"), BAD, ids=[told for _, told in BAD])
async def test_a_start_that_cannot_be_says_why(
    place: Path, settings: dict[str, str], told: str
) -> None:
    """A setting that does not work stops the start at once, with its name and no traceback."""
    code, out, err = await command("up", home=place, **{"BRIDGE_LISTEN": "off", **settings})
    assert code == 2, err
    assert told in err
    assert "Traceback" not in out + err


async def test_a_port_in_use_is_told(place: Path) -> None:
    """A listening address that somebody else has stops the start and names the setting."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    code, _, err = await command("up", home=place, BRIDGE_LISTEN=f"127.0.0.1:{port}")
    server.close()
    assert code == 2
    assert "BRIDGE_LISTEN" in err
