"""Bridge and agent service as processes that can be killed, and what came of it all."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path

from tests.bridge.house import until

ROOT = Path(__file__).parents[2]
STARTS_WITHIN = 60.0


class Posts:
    """The platform's file, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: dict[str, dict] = {}
        """Each post as it is seen now, in the order of sending."""
        self._words: set[str] = set()
        """Posts about messages that wait: whether there are any is a matter of time."""
        self._place = 0

    def look(self) -> Posts:
        if self.path.exists():
            with self.path.open() as file:
                file.seek(self._place)
                for line in file:
                    if not line.endswith("\n"):
                        break
                    self._place += len(line.encode())
                    post = json.loads(line)
                    if post["op"] == "send" and post["ref"] in self.last:
                        continue  # the platform knows the key
                    if post["key"].endswith(".queued"):
                        self._words.add(post["ref"])
                    if post["ref"] not in self._words:
                        self.last[post["ref"]] = post
        return self

    def of(self, channel: str) -> list[dict]:
        return [post for post in self.look().last.values() if post["channel"] == channel]

    def texts(self, channel: str) -> list[str]:
        return [post["text"] for post in self.of(channel)]

    def choices(self, channel: str) -> list[str]:
        return [choice for post in self.of(channel) for choice in post["choices"]]

    def finals(self) -> int:
        return sum(post["final"] for post in self.look().last.values())

    async def shows(self, channel: str, text: str) -> dict:
        """The first post in the channel with the text, once it is there."""
        await until(lambda: any(text in t for t in self.texts(channel)), 60)
        return next(post for post in self.of(channel) if text in post["text"])


class Town:
    """`bridge` is the one of tests with a single one; `nodes` are all, by name."""

    def __init__(self, home: Path, database: str = "") -> None:
        self.home = home
        self.database = database
        self.nodes: dict[str, asyncio.subprocess.Process] = {}
        self.posts = Posts(home / "posts.jsonl")
        self.log = home / "log.txt"
        self.bridge: asyncio.subprocess.Process | None = None
        self.agent: asyncio.subprocess.Process | None = None

    async def _process(self, *words: str, ready: Path) -> asyncio.subprocess.Process:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "BASCULE_HOME": str(self.home),
            "LOG_LEVEL": "warning",
            "BRIDGE_DATABASE_URL": self.database,
        }
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *words, env=environment, stderr=log, cwd=self.home
            )
        async with asyncio.timeout(STARTS_WITHIN):
            while not await _listens(ready):
                assert process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)
        return process

    async def start_agent(self) -> None:
        self.agent = await self._process(
            sys.executable, "-m", "agent_service.testing.scripted_service",
            ready=self.home / "run" / "agent.sock",
        )  # fmt: skip

    async def start_real_agent(self, model: str) -> None:
        """The real CLI, against the model at this address."""
        environment = {"AGENT_UPSTREAM_URL": model, "AGENT_API_KEY": "test-key"}
        words = [f"{name}={value}" for name, value in environment.items()]
        self.agent = await self._process(
            "env", *words, sys.executable, "-m", "agent_service",
            ready=self.home / "run" / "agent.sock",
        )  # fmt: skip

    async def start_bridge(self, *before: str, listen: str = "off") -> None:
        """`before` are words put before the command, such as a program that mounts something."""
        self.bridge = await self.start_node("", *before, listen=listen)

    async def start_node(
        self, name: str, *before: str, listen: str = "off"
    ) -> asyncio.subprocess.Process:
        """One of several bridges on one database, with a door of its own."""
        self.nodes[name] = await self._process(
            *before, sys.executable, "-m", "tests.bridge.program", str(self.home), listen, name,
            ready=self.home / "run" / f"door{name}.sock",
        )  # fmt: skip
        return self.nodes[name]

    async def kill_bridge(self, number: int = signal.SIGKILL) -> int:
        self.bridge.send_signal(number)
        return await self.bridge.wait()

    async def kill_node(self, name: str) -> None:
        self.nodes[name].kill()
        await self.nodes[name].wait()

    async def kill_agent(self) -> None:
        self.agent.kill()
        await self.agent.wait()

    async def stop(self) -> None:
        for process in (*self.nodes.values(), self.agent):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()

    async def say(self, channel: str, text: str, order: int, node: str = "") -> str:
        """Deliver a message as a platform does: again and again until it is acknowledged."""
        line = {"key": f"{channel}.{order}", "channel": channel, "text": text, "order": order}
        return await self._deliver(line, node)

    async def click(self, channel: str, action: str, number: int) -> str:
        """Deliver a click as a platform does: again and again until it is acknowledged."""
        key = f"{channel}.click.{number}"
        return await self._deliver({"key": key, "channel": channel, "action": action})

    async def command(self, channel: str, name: str, node: str = "") -> str:
        line = {"key": f"{channel}.{name}", "channel": channel, "command": name}
        return await self._deliver(line, node)

    async def _deliver(self, line: dict, node: str = "") -> str:
        while True:
            answer = await self.deliver_once(line, node)
            if answer and not answer.startswith("not stored"):
                return answer
            await asyncio.sleep(0.02)

    async def deliver_once(self, line: dict, node: str = "") -> str:
        """What the bridge answers; empty where it is not there or went away meanwhile."""
        try:
            reader, writer = await asyncio.open_unix_connection(
                str(self.home / "run" / f"door{node}.sock")
            )
            writer.write(json.dumps(line).encode() + b"\n")
            answer = (await reader.readline()).decode().strip()
            writer.close()
        except OSError:
            return ""
        return answer

    def turns(self) -> list[tuple[str, str]]:
        """(conversation, prompt) of every turn there ever was, in the order of their start."""
        with sqlite3.connect(self.home / "agent" / "agent.db") as agent:
            rows = agent.execute("SELECT conversation, body FROM turn ORDER BY number").fetchall()
        agent.close()
        return [(conversation, json.loads(body)["prompt"]) for conversation, body in rows]

    def answers(self) -> dict[str, int]:
        """How many answers of the model were paid for each turn."""
        with sqlite3.connect(self.home / "agent" / "agent.db") as agent:
            rows = agent.execute("SELECT turn, count(*) FROM usage GROUP BY turn").fetchall()
        agent.close()
        return dict(rows)


async def _listens(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    writer.close()
    return True


async def ends_well(town: Town, channel: str, texts: list[str]) -> None:
    """The channel shows these posts and nothing else, all of them final."""
    await until(lambda: town.posts.texts(channel) == texts, 60)
    await until(lambda: all(post["final"] for post in town.posts.of(channel)), 60)
