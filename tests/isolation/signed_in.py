"""The same deployment, in which the agent that wants it all runs on a person's own sign-in."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Caller
from tests.agent_service.claude_account import ClaudeAccount
from tests.isolation.files import FILES
from tests.isolation.kernel import KERNEL, PROCESSES
from tests.isolation.ordinary import OrdinaryAgent
from tests.isolation.world import World

ON_SIGN_IN = {"files": FILES, "processes": PROCESSES, "kernel": KERNEL}
"""What such a session has in common with others: the box. Its network is another one."""


class AbroadAgent(OrdinaryAgent):
    module = "tests.isolation.abroad"


class SignedInWorld(World):
    """`run` tries the tables that are about the box."""

    kind = AbroadAgent

    async def start(self) -> None:
        self._stack = AsyncExitStack()
        provider = self.home / "provider"
        provider.mkdir()
        own = await self._stack.enter_async_context(ScriptedMessages(keep=5000))
        account = ClaudeAccount(provider, own.url)
        self.account = await self._stack.enter_async_context(account)
        self.own = own
        await super().start()

    def _settings(self) -> dict[str, Any]:
        return {
            **super()._settings(),
            "agent_personal_sign_in": True,
            "port_of_all": self.account.port,
            "authority_of_all": self.account.authority,
        }

    async def stop(self) -> None:
        await super().stop()
        await self._stack.aclose()

    async def run(self) -> None:
        await self._sign_in("p1")
        await self._tokens()
        self._variables()
        self._watch()
        for name, table in ON_SIGN_IN.items():
            await self._batch(f"own-{name}", table, conversation="c-own", own=True)

    async def _sign_in(self, person: str) -> None:
        admin = Caller(self.home, "admin")
        path, body = "/v1/credentials/sign-ins", {"person": person, "kind": "subscription"}
        status, begun = await admin.call("POST", path, body)
        assert status == 200, begun
        status, done = await admin.call("POST", f"{path}/{begun['id']}", {"code": "good#state"})
        assert (status, done["state"]) == (200, "signed_in"), done
        await admin.http.close()
