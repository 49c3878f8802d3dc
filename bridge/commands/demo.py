"""`bascule demo`: everything, with a scripted model, for one person at this terminal."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import typer

from bridge import log
from bridge.commands.house import StopSignals, programs
from bridge.commands.tell import tell
from bridge.home import HomeLock, HomeUnusable, prepare
from bridge.supervisor import StartFailed, Supervisor

PYTHON = (sys.executable, "-P", "-m")
"""Starts a module of ours, never a file of that name in the folder one happens to be in."""
MODEL = "agent_service.testing.messages_api"
CHAT = "adapters.console"
MODEL_SECONDS = 30.0
INTERRUPTED = 130
# What the user's own settings must not change about the demo.
_NOT_OURS = (
    "AGENT_",
    "BRIDGE_",
    "ADMIN_",
    "SLACK_",
    "DISCORD_",
    "BASCULE_",
    "ANTHROPIC_",
    "CLAUDE",
    "LOG_",
)

PROBE = "agent_service.sandbox.probe"
BANNER = """\
Bascule demo: the real Claude CLI, a scripted model, no token of any kind.
The agent works in {home}/workspaces{bounds}.
{kept}
Try: say hello · write a file · run a command · ask me a question · help
"""
KEPT = "Everything stays in that folder."
TEMPORARY = "All of it is deleted at the end; `bascule demo --home DIR` keeps it."
HINT = "The demo ends here. Run `bascule demo` without a pipe and without --ask to answer."
NO_SANDBOX = "This demo runs without a sandbox, with your own rights. {why}"


def demo(
    ask: str | None = typer.Option(
        None, "--ask", metavar="TEXT", help="Send this one message, print the answer and leave."
    ),
    home: Path | None = typer.Option(
        None, "--home", help="Keep the demo's files in this folder; by default they are temporary."
    ),
) -> None:
    """Try everything, with no account and no token.

    A terminal chat with the real Claude CLI and a scripted model; nothing leaves this machine.
    With input from a pipe, each line is a message.
    """
    folder = home.absolute() if home else Path(tempfile.mkdtemp(prefix="bascule-demo-"))
    try:
        prepare(folder)
        with (folder / "demo.log").open("ab") as output:
            log.configure("human", "info", (folder / "demo.log").open("a"))
            code = asyncio.run(_demo(folder, output, ask, KEPT if home else TEMPORARY))
    except (HomeUnusable, StartFailed) as error:
        tell(error, err=True)
        _tell_log(folder / "demo.log")
        raise typer.Exit(1) from None
    if home is None:
        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(code)


async def _demo(home: Path, output: IO[bytes], ask: str | None, kept: str) -> int:
    signals = StopSignals(signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    lock = HomeLock(home)
    if not lock.take():
        raise HomeUnusable(f"Another demo runs on {home}: end it first, or choose another --home.")
    inherited = _inherited()
    try:
        async with _model(home, output, inherited) as url:
            problem = await _problem_with_the_sandbox(inherited)
            if problem:
                tell(NO_SANDBOX.format(why=problem), err=True)
            environment = {
                **inherited,
                "AGENT_SANDBOX": "off" if problem else "required",
                "BASCULE_HOME": str(home),
                "AGENT_UPSTREAM_URL": url,
                "AGENT_API_KEY": "demo",
                "BRIDGE_ADAPTERS": "console",
                "BRIDGE_LISTEN": "off",
                "LOG_FORMAT": "human",
            }
            # Started in the home, so that no `.env` of the user's is read.
            supervisor = Supervisor(
                programs(environment, home), home / "run", output=output, keep_open=(lock.fd,)
            )
            signals.hurry = supervisor.kill
            try:
                bounds = "" if problem else ", in a sandbox without a network"
                banner = BANNER.format(home=home, bounds=bounds, kept=kept)
                return await _talk(supervisor, signals, home, ask, banner)
            finally:
                await supervisor.stop()
    finally:
        lock.drop()


async def _talk(
    supervisor: Supervisor, signals: StopSignals, home: Path, ask: str | None, banner: str
) -> int:
    """The chat in this terminal, once everything is up; its exit code."""
    asked_to_stop = asyncio.create_task(signals.asked.wait())
    starting = asyncio.create_task(supervisor.start())
    await asyncio.wait({starting, asked_to_stop}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return INTERRUPTED
    starting.result()
    if ask is None and sys.stdin.isatty():
        tell(banner)
    # It shares this process group: Ctrl-C in the terminal is its own business from here on.
    signals.leave(signal.SIGINT)
    arguments = ["--socket", str(home / "run" / "console.sock"), "--hint", HINT]
    if ask is not None:
        arguments += ["--ask", ask]
    # Supervised, so that it is not left in the terminal when this process is killed.
    environment = {**_inherited(), "BASCULE_SUPERVISED": str(os.getpid())}
    chat = await asyncio.create_subprocess_exec(*PYTHON, CHAT, *arguments, env=environment)
    chatting = asyncio.create_task(chat.wait())
    failing = asyncio.create_task(supervisor.wait())
    try:
        await asyncio.wait({chatting, failing, asked_to_stop}, return_when=asyncio.FIRST_COMPLETED)
        if chatting.done():
            return chatting.result()
        if failing.done():
            raise failing.result()
        return INTERRUPTED
    finally:
        if chat.returncode is None:
            chat.terminate()
            await chatting
        failing.cancel()
        asked_to_stop.cancel()


def _inherited() -> dict[str, str]:
    """The environment without what is meant for a deployment, its keys among it."""
    return {n: v for n, v in os.environ.items() if not n.startswith(_NOT_OURS)}


async def _problem_with_the_sandbox(environment: dict[str, str]) -> str:
    """Why this machine cannot sandbox and what to do; empty where it can."""
    probing = await asyncio.create_subprocess_exec(
        *PYTHON, PROBE, env=environment, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await probing.communicate()
    return said.decode(errors="replace").strip() if probing.returncode else ""


@asynccontextmanager
async def _model(home: Path, output: IO[bytes], environment: dict[str, str]) -> AsyncIterator[str]:
    """The scripted model; gives its URL. It dies with this process."""
    ready = home / "run" / "model.url"
    ready.unlink(missing_ok=True)
    model = await asyncio.create_subprocess_exec(
        *PYTHON, MODEL, "--port", "0", "--ready-file", str(ready),
        stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        env=environment, cwd=home, process_group=0,
    )  # fmt: skip
    try:
        until = asyncio.get_running_loop().time() + MODEL_SECONDS
        while not ready.exists():
            if model.returncode is not None or asyncio.get_running_loop().time() > until:
                raise StartFailed("The scripted model does not start.")
            await asyncio.sleep(0.02)
        yield ready.read_text("ascii").strip()
    finally:
        if model.returncode is None:
            model.terminate()
            await model.wait()


def _tell_log(path: Path) -> None:
    """The end of what the programs wrote: it says why."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            last = deque(file, maxlen=15)
    except OSError:
        return
    tell("".join(f"  {line}" for line in last).rstrip(), err=True)
    tell(f"All of it is in {path}.", err=True)
