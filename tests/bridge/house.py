"""A bridge with everything around it, and short words for what a person does."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from adapters.contract import ActionIn, Address, CommandIn, Identity, MessageIn, Sender
from agent_service.contract import DecisionAnswer
from agent_service.service import AgentService
from agent_service.settings import AgentSettings
from agent_service.testing.scripted_service import scripted_service
from bridge.agent_client import AgentClient
from bridge.service import Bridge
from bridge.settings import BridgeSettings, read_signing_keys
from tests.bridge.platforms import MemoryPlatform, plugin
from tests.bridge.proxy import Proxy

OWNER = Sender(Identity("memory", "t", "owner"), "Olga", host_owner=True)
STRANGER = Sender(Identity("memory", "t", "stranger"), "Sam")


async def until(check: Callable[[], object], seconds: float = 20.0) -> None:
    """Returns once `check()` is true."""
    try:
        async with asyncio.timeout(seconds):
            while not check():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s") from None


class House:
    def __init__(
        self, home: Path, database: str = "", *, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` is for decisions and budgets, of both services; the bridge's schedules go by
        `wall` where it is set."""
        self.home = home
        self.database = database
        self.clock = clock
        self.wall: Callable[[], float] | None = None
        self.platform = MemoryPlatform()
        upstream = home / "run" / "scripted.sock"
        self.agent = Proxy(home / "run" / "agent.sock", upstream)
        self.agent_settings = AgentSettings(
            _env_file=None, bascule_home=home, agent_socket=upstream
        )
        self.service: AgentService | None = None
        self.numbers = itertools.count(1)
        self.bridge: Bridge | None = None

    async def start_agent(self) -> None:
        self.service = scripted_service(self.agent_settings, clock=self.clock)
        await self.service.start()
        await self.agent.start()

    async def stop_agent(self) -> None:
        """The agent service ends as on SIGTERM; `start_agent` starts another on its database."""
        await self.agent.stop()
        await self.service.stop()
        self.service = None

    def settings(self, **values: object) -> BridgeSettings:
        values = {
            "bascule_home": self.home,
            "bridge_adapters": "memory",
            "bridge_database_url": self.database,
            "bridge_listen": "off",
            "bridge_messages_a_minute": 0,
            "bridge_commands_a_minute": 0,
            "bridge_agent_patience_seconds": 20.0,
            **values,
        }
        return BridgeSettings(_env_file=None, **values)

    def make(self, **values: object) -> Bridge:
        return Bridge(
            self.settings(**values),
            given=[plugin(self.platform)],
            drain_seconds=0.05,
            clock=self.wall or self.clock,
        )

    async def start(self, **values: object) -> Bridge:
        self.bridge = self.make(**values)
        await self.bridge.start()
        return self.bridge

    async def stop(self) -> None:
        if self.bridge is not None:
            await self.bridge.stop()
        await self.agent.stop()
        if self.service is not None:
            await self.service.stop()

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

    async def command(self, name, channel="c1", *, sender=OWNER, key="", rest="") -> str:
        number = next(self.numbers)
        receipt = await self.host.submit(
            CommandIn((key or f"k{number}",), self.at(channel), sender, name, rest)
        )
        return receipt.reply.markdown if receipt.reply else receipt.outcome

    def client(self) -> AgentClient:
        """Past the bridge, as an operator's page calls."""
        keys = read_signing_keys(self.settings().signing_keys_file)
        return AgentClient(self.agent_settings.socket, keys)

    async def tell_deciders(self, workspace: str, people: tuple[str, ...]) -> None:
        client = self.client()
        try:
            await client.set_deciders(workspace, people, "p_elsewhere")
        finally:
            await client.close()

    async def decide_elsewhere(self, outcome: str) -> None:
        """Somebody answers the newest decision past the bridge, as on an operator's page."""
        choice = next(c for c in self.choices() if c.startswith("d:"))
        _, decision, _ = choice.split(":")
        await self.tell_deciders(self.agent.bodies()[-1]["workspace"], ("p_elsewhere",))
        client = self.client()
        try:
            answer = DecisionAnswer(outcome, "p_elsewhere")
            await client.decide(self.agent.started[-1].turn, decision, answer)
        finally:
            await client.close()

    def texts(self, channel="c1") -> list[str]:
        return self.platform.texts(self.at(channel))

    def answers(self, channel="c1") -> list[str]:
        """What is there besides the words about messages that wait."""
        words = {ref for key, ref in self.platform.by_key.items() if key.endswith(".queued")}
        at, posts = self.at(channel), self.platform.posts.items()
        return [p[-1].markdown for ref, p in posts
                if self.platform.places[ref] == at and ref not in words]  # fmt: skip

    def choices(self, channel="c1") -> list[str]:
        posts = self.platform.shown(self.at(channel))
        return [choice.action for post in posts for choice in post.choices]

    async def card(self, channel="c1") -> list[str]:
        """The buttons of the decision that is asked, once they are there."""
        await until(lambda: any(c.startswith("d:") for c in self.choices(channel)))
        return [c for c in self.choices(channel) if c.startswith("d:")]

    async def sees(self, text: str, channel="c1", seconds: float = 20.0) -> None:
        """Waits until some post in the channel holds the text."""
        try:
            await until(lambda: any(text in shown for shown in self.texts(channel)), seconds)
        except AssertionError:
            raise AssertionError(f"{text!r} is not in {self.texts(channel)}") from None

    async def quiet(self, channel="c1") -> None:
        """Waits until nothing goes on in the channel any more, or it waits for a person."""
        mine = self.at(channel)
        await until(
            lambda: [text for at, text in self.platform.status_log if at == mine][-1:] == [""]
        )

    def prompts(self) -> list[str]:
        return self.agent.prompts()
