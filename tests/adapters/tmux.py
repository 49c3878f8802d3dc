"""A real terminal of 80 by 24, in which tests type and read."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


class Terminal:
    """`bascule chat` in tmux. `sees` waits for what a person would see."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="bsc-"))

    async def tmux(self, *arguments: str) -> str:
        done = await asyncio.to_thread(
            subprocess.run,
            ["tmux", "-S", str(self.root / "tmux"), "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout

    async def start(self, socket: Path, *arguments: str) -> None:
        """A first run; `again` is another one after it ended."""
        chat = [sys.executable, "-m", "adapters.console", "--socket", str(socket), *arguments]
        await self.run(*chat)
        await self.sees("/help")

    async def run(self, *words: str, **environ: str) -> None:
        """Start any command, with these variables."""
        environ = {"XDG_STATE_HOME": str(self.root), **environ}
        settings = [f"{name}={value}" for name, value in environ.items()]
        self.command = f"{shlex.join(['env', *settings, *words])}; echo left with $?; cat"
        await self.tmux("new-session", "-d", "-x", "80", "-y", "24", self.command)

    async def again(self) -> None:
        await self.tmux("respawn-pane", "-k", self.command)
        await self.tmux("clear-history")
        await self.until(lambda shown: "/help" in shown and "left with" not in shown, "a new run")

    async def close(self) -> None:
        await self.tmux("kill-server")
        shutil.rmtree(self.root, ignore_errors=True)

    async def types(self, text: str) -> None:
        await self.tmux("send-keys", "-l", text)

    async def presses(self, *keys: str) -> None:
        for key in keys:
            await self.tmux("send-keys", key)

    async def says(self, text: str) -> None:
        await self.types(text)
        await self.presses("Enter")

    async def screen(self) -> str:
        """What is visible."""
        return await self.tmux("capture-pane", "-p", "-J")

    async def all(self) -> str:
        """With what was scrolled up."""
        return await self.tmux("capture-pane", "-p", "-J", "-S", "-")

    async def sees(self, *texts: str) -> str:
        """Waits until all of them are there; gives everything that is."""
        return await self.until(lambda shown: all(text in shown for text in texts), texts)

    async def until(self, true, what: object) -> str:
        shown = ""
        try:
            async with asyncio.timeout(45):
                while not true(shown := await self.all()):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{what!r} is not in:\n{shown}") from None
        return shown
