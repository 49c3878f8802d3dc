"""`bascule up` as a real process, with a scripted model, to be talked to, killed and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil

from agent_service.sandbox.launch import MARK
from agent_service.testing import ScriptedMessages

BASCULE = Path(sys.executable).with_name("bascule")
SECONDS = 60.0
API_KEY = "sk-ant-canary-of-the-tests"


def environment(home: Path, **settings: str) -> dict[str, str]:
    """What a command of a deployment gets: nothing of the tester's own settings."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "BASCULE_HOME": str(home / "data"),
        **settings,
    }


async def command(
    *words: str, home: Path, given: bytes = b"", **settings: str
) -> tuple[int, str, str]:
    """(exit code, output, errors) of `bascule` with these words, run in `home`."""
    process = await asyncio.create_subprocess_exec(
        BASCULE,
        *words,
        cwd=home,
        env=environment(home, **settings),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS * 2):
            out, err = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


class Deployment:
    """One `up`. What it writes is in `log`, as lines of JSON where they are log lines."""

    def __init__(self, home: Path, model: ScriptedMessages, **settings: str) -> None:
        self.home = home
        self.data = home / "data"
        self.log = home / "up.log"
        self.settings = {
            "AGENT_UPSTREAM_URL": model.url,
            "AGENT_API_KEY": API_KEY,
            "AGENT_MODEL_RETRIES": "1",
            "BRIDGE_LISTEN": "off",
            "ADMIN_LISTEN": "off",
            "LOG_FORMAT": "json",
            **settings,
        }

    async def begin(self) -> None:
        """Start it and do not wait."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                BASCULE, "up", cwd=self.home, env=environment(self.home, **self.settings),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def start(self) -> None:
        """Start it; returns once both programs say that they are up."""
        before = self.text().count("bridge started")
        await self.begin()
        await self.until(lambda: self.text().count("bridge started") > before)

    async def until(self, check: Any, seconds: float = SECONDS) -> None:
        """Returns once `check()` is true; fails with the log otherwise."""
        try:
            async with asyncio.timeout(seconds):
                while not check():
                    assert self.process.returncode is None, self.text()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(self.text()) from None

    def text(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def lines(self) -> list[dict[str, Any]]:
        """The log lines, oldest first."""
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    def program(self, module: str) -> psutil.Process | None:
        """The running `python -m module` of this deployment."""
        for process in psutil.process_iter():
            try:
                if process.cmdline()[1:4] != ["-P", "-m", module] or process.status() == "zombie":
                    continue
                if process.environ().get("BASCULE_HOME") == str(self.data):
                    return process
            except psutil.Error:
                continue
        return None

    def everything(self) -> list[psutil.Process]:
        """Every process of this deployment, what its agents started included."""
        found = []
        for process in psutil.process_iter():
            try:
                marks = process.environ()
                if process.status() == "zombie":
                    continue
                if marks.get(MARK) == str(self.data) or (
                    marks.get("BASCULE_HOME") == str(self.data) and "BASCULE_SUPERVISED" in marks
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    async def chat(self, text: str, *words: str) -> tuple[int, str, str]:
        """`bascule chat` with each line of `text` as a message."""
        return await command("chat", *words, home=self.home, given=text.encode())

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it by a signal; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()

    async def nothing_left(self) -> None:
        """Returns once no process of it is left."""
        async with asyncio.timeout(SECONDS):
            while self.everything():
                await asyncio.sleep(0.02)
