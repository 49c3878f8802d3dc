"""The real bridge on a real database, a chat platform in memory, a scripted agent service."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.contract import ActionIn, Address, CommandIn, Identity, MessageIn, Sender
from bridge import log
from bridge.service import Bridge
from bridge.settings import BridgeSettings

sys.path.append(str(Path(__file__).parent))

from platforms import MemoryPlatform, plugin
from scripted_agent import KEY, ScriptedAgent
from stand_in import StandIn

OWNER = Sender(Identity("memory", "t", "owner"), "Olga", host_owner=True)
STRANGER = Sender(Identity("memory", "t", "stranger"), "Sam")


async def until(check: Callable[[], object], seconds: float = 8.0) -> None:
    """Returns once `check()` is true."""
    try:
        async with asyncio.timeout(seconds):
            while not check():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s") from None


class House:
    """A bridge with everything around it, and short words for what a person does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.platform = MemoryPlatform()
        self.agent = ScriptedAgent(home / "run" / "agent.sock")
        self.numbers = itertools.count(1)
        self.bridge: Bridge | None = None

    def settings(self, **values: object) -> BridgeSettings:
        values = {
            "bascule_home": self.home,
            "bridge_adapters": "memory",
            "bridge_listen": "off",
            "bridge_agent_patience_seconds": 5.0,
            **values,
        }
        return BridgeSettings(_env_file=None, **values)

    def make(self, **values: object) -> Bridge:
        return Bridge(
            self.settings(**values),
            given=[plugin(self.platform)],
            present=StandIn,
            drain_seconds=0.05,
        )

    async def start(self, **values: object) -> Bridge:
        self.bridge = self.make(**values)
        await self.bridge.start()
        return self.bridge

    @property
    def host(self):
        return self.bridge.host

    def at(self, channel: str = "c1") -> Address:
        return Address("memory", "t", channel, direct=True)

    def said(self, text, channel="c1", *, sender=OWNER, key="", order=0, **more) -> MessageIn:
        number = next(self.numbers)
        return MessageIn(
            keys=(key or f"k{number}",),
            address=self.at(channel),
            sender=sender,
            text=text,
            order=order or number,
            sent_at=datetime.now(UTC),
            **more,
        )

    async def say(self, text, channel="c1", **more):
        return await self.host.submit(self.said(text, channel, **more))

    async def click(self, action, channel="c1", *, sender=OWNER, key="", values=()):
        number = next(self.numbers)
        return await self.host.submit(
            ActionIn((key or f"k{number}",), self.at(channel), sender, action, values)
        )

    async def command(self, name, channel="c1", *, sender=OWNER, key="") -> str:
        number = next(self.numbers)
        receipt = await self.host.submit(
            CommandIn((key or f"k{number}",), self.at(channel), sender, name)
        )
        return receipt.reply.markdown if receipt.reply else receipt.outcome

    def texts(self, channel="c1") -> list[str]:
        return self.platform.texts(self.at(channel))

    def choices(self, channel="c1") -> list[str]:
        posts = self.platform.shown(self.at(channel))
        return [choice.action for post in posts for choice in post.choices]

    async def sees(self, text: str, channel="c1", seconds: float = 8.0) -> None:
        """Waits until some post in the channel holds the text."""
        try:
            await until(lambda: any(text in shown for shown in self.texts(channel)), seconds)
        except AssertionError:
            raise AssertionError(f"{text!r} is not in {self.texts(channel)}") from None

    def prompts(self) -> list[str]:
        return [prompt for _, _, _, prompt in self.agent.started]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Everything made, the agent service up, the bridge not started."""
    log.configure("human", "info")
    made = House(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "secrets").mkdir()
    keys = tmp_path / "secrets" / "bridge.keys"
    keys.write_text(KEY + "\n")
    keys.chmod(0o600)
    await made.agent.start()
    yield made
    if made.bridge is not None:
        await made.bridge.stop()
    await made.agent.stop()
    assert made.agent.refused == []
    assert made.agent.overlaps == 0


@pytest.fixture
async def up(house: House) -> House:
    """The bridge started."""
    await house.start()
    return house


@pytest.fixture
def wait() -> Callable[..., Awaitable[None]]:
    return until


@pytest.fixture
def stranger() -> Sender:
    return STRANGER
