"""A small Discord on loopback, and what its people do in it."""

from __future__ import annotations

import asyncio
import secrets
from types import TracebackType
from typing import Any

from aiohttp import web
from yarl import URL

from tests.adapters.discord_double.asked import Asked
from tests.adapters.discord_double.gateway import Gateway
from tests.adapters.discord_double.rest import Rest
from tests.adapters.discord_double.world import DM, JSON, World

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL = 2, 3, 4, 5


class Double:
    """`async with Double() as discord`: `settings` point the adapter at it."""

    def __init__(self, *, content_intent: bool = True, shards: int = 1) -> None:
        self.world = World(content_intent=content_intent)
        self.gateway = Gateway(self.world, shards=shards)
        self.rest = Rest(self.world, self.gateway)

    async def __aenter__(self) -> Double:
        self._runner = web.AppRunner(self.rest.app(), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.rest.base = f"http://127.0.0.1:{port}"
        self.gateway.url = f"ws://127.0.0.1:{port}/gateway"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "DISCORD_BOT_TOKEN": self.world.token,
            "DISCORD_API_URL": f"{self.rest.base}/api/v10",
            "DISCORD_GATEWAY_URL": "",
            "DISCORD_MESSAGE_CONTENT": "auto",
        }

    async def say(self, channel: str, content: str, who: JSON | None = None, **more: Any) -> JSON:
        """Somebody writes; returns the message once it was told."""
        made = self.world.post(channel, who or self.world.ann, content, **more)
        await self.again(made)
        return made

    async def again(self, message: JSON) -> None:
        """The gateway tells of a message (once more)."""
        await self.gateway.tell("MESSAGE_CREATE", message, channel=message["channel_id"])

    async def attach(self, channel: str, content: str, name: str, data: bytes) -> JSON:
        file = self.world.attach(name, data, self.rest.base, channel)
        return await self.say(channel, content, attachments=[file])

    async def post_in_forum(self, name: str, content: str, who: JSON | None = None) -> JSON:
        who = who or self.world.ann
        thread = self.world.thread(name, self.world.forum, owner=who["id"])
        await self.gateway.tell("THREAD_CREATE", thread)
        made = self.world.post(thread["id"], who, content, message=thread["id"])
        await self.again(made)
        return made

    def _context(self, channel: str, who: JSON, installed: str) -> JSON:
        at = self.world.channels[channel]
        if at["type"] == DM:
            return {"user": who, "context": 1, "authorizing_integration_owners": {"0": "0"}}
        found = {
            "guild_id": self.world.guild_id, "context": 0,
            "member": {**self.world.member(who["id"]), "permissions": str(2**40)},
            "guild": {"id": self.world.guild_id, "locale": "en-US", "features": []},
        }  # fmt: skip
        owners = {"1": who["id"]} if installed == "user" else {"0": self.world.guild_id}
        return {**found, "authorizing_integration_owners": owners}

    async def interact(
        self, kind: int, channel: str, data: JSON, who: JSON | None = None, *,
        message: JSON | None = None, installed: str = "guild", twice: bool = False,
        seconds: float = 3.0,
    ) -> Asked | None:  # fmt: skip
        """Somebody uses a command, a button or a form. None where nothing answered in time, as
        Discord then says that the application did not respond."""
        who = who or self.world.ann
        made = Asked(
            self.world.snowflake(), secrets.token_hex(20), who["id"], channel,
            asyncio.get_running_loop().create_future(),
        )  # fmt: skip
        self.rest.interactions.asked[made.token] = made
        payload = {
            "id": made.id, "application_id": self.world.bot["id"], "type": kind, "data": data,
            "token": made.token, "version": 1, "channel_id": channel, "locale": "en-US",
            "channel": self.world.channels[channel], "attachment_size_limit": 10 * 2**20,
            "app_permissions": str(2**40), "entitlements": [],
            **self._context(channel, who, installed),
        }  # fmt: skip
        if message is not None:
            payload["message"] = message
        for _ in range(1 + twice):
            await self.gateway.tell("INTERACTION_CREATE", payload, channel=channel)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(made.answered)
        except TimeoutError:
            del self.rest.interactions.asked[made.token]
            return None
        return made

    async def command(
        self, channel: str, name: str, options: dict[str, str] | None = None, **more: Any
    ) -> Asked | None:
        """`/bascule name …`."""
        given = [{"type": 3, "name": n, "value": v} for n, v in (options or {}).items()]
        sub = {"type": 1, "name": name, "options": given}
        data = {"id": "1", "name": "bascule", "type": 1, "options": [sub]}
        return await self.interact(COMMAND, channel, data, **more)

    async def complete(self, channel: str, name: str, typed: str) -> list[JSON]:
        """What is proposed while somebody writes the words of a command."""
        given = [{"type": 3, "name": "words", "value": typed, "focused": True}]
        sub = {"type": 1, "name": name, "options": given}
        data = {"id": "1", "name": "bascule", "type": 1, "options": [sub]}
        asked = await self.interact(AUTOCOMPLETE, channel, data)
        assert asked is not None
        return list(asked.answered.result()["data"]["choices"])

    async def press(self, message: JSON, label: str, who: JSON | None = None, **more: Any) -> Any:
        """Somebody presses a button, or takes it from a menu."""
        channel = message["channel_id"]
        for row in message["components"]:
            for part in row["components"]:
                if part.get("label") == label:
                    data = {"custom_id": part["custom_id"], "component_type": 2}
                    return await self.interact(
                        COMPONENT, channel, data, who, message=message, **more
                    )
                for option in part.get("options", []):
                    if option["label"] == label:
                        data = {"custom_id": part["custom_id"], "component_type": 3,
                                "values": [option["value"]]}  # fmt: skip
                        return await self.interact(
                            COMPONENT, channel, data, who, message=message, **more
                        )
        raise AssertionError(f"no {label!r} in {message['components']}")

    async def fill(
        self, asked: Asked, message: JSON | None, values: dict[str, list[str]],
        who: JSON | None = None, **more: Any,
    ) -> Asked | None:  # fmt: skip
        """Somebody fills in the form that an interaction brought: label → texts or labels."""
        form = asked.answered.result()
        assert form["type"] == 9, form
        rows = []
        for part in form["data"]["components"]:
            inner = part["component"]
            given = values.get(part["label"], [])
            if inner["type"] == 4:
                value = {"value": given[0] if given else ""}
                assert given or not inner.get("required", True), f"needed: {part}"
            else:
                by_label = {o["label"]: o["value"] for o in inner["options"]}
                value = {"values": [by_label[label] for label in given if label in by_label]}
                assert given or not inner.get("required", True), f"needed: {part}"
            filled = {"type": inner["type"], "id": 2, "custom_id": inner["custom_id"], **value}
            rows.append({"type": 18, "id": 1, "component": filled})
        data = {"custom_id": form["data"]["custom_id"], "components": rows}
        return await self.interact(MODAL, asked.channel, data, who, message=message, **more)

    def url(self, path: str) -> URL:
        return URL(self.rest.base + path)
