"""The CLI's own Glob and Grep, in a session as the service starts it.

This CLI has both, and offers them only where it is told to by name, which the service does not: its
agents search by commands. They are offered here, so that the sandbox is tried with them too.

python -m tests.isolation.searching HOME required|off MODEL: it reads [[tool, input], ...] from its
input, and writes a list of what each call gave as the last line of its output.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from claude_agent_sdk import (
    ClaudeSDKClient,
    ToolResultBlock,
    ToolUseBlock,
)

from agent_service.broker.broker import Broker
from agent_service.broker.prices import PriceTable
from agent_service.broker.purses import Purses
from agent_service.broker.rules import Rules
from agent_service.claude.calls import MessageCalls
from agent_service.claude.gate import Gate
from agent_service.claude.options import bundled_cli, environment, options
from agent_service.claude.outgoing import Outgoing
from agent_service.credentials.keyring import Key
from agent_service.egress.exits import Exits
from agent_service.egress.hosts import Hosts
from agent_service.egress.proxy import Network
from agent_service.policy.effective import Effective
from agent_service.sandbox.launcher import House, Launcher
from agent_service.sandbox.limits import Limits
from agent_service.store.database import Database
from agent_service.turns.port import Opening
from agent_service.workspaces.directory import Workspaces

SEARCH = ["Glob", "Grep"]


async def nothing_spent(_conversation: str) -> float:
    return 0.0


async def nobody_spent(_person: str | None, _since: float) -> float:
    return 0.0


async def settled() -> None:
    """Nothing lay unresolved."""


async def searched(
    home: Path, sandboxed: bool, model: str, calls: list[tuple[str, dict[str, Any]]]
) -> list[str]:
    """What each call gave, errors too; empty where the CLI did not make it."""
    key = Key("default", model, "test-key")
    broker = Broker(
        lambda _person: key,
        Rules(("*",), 1_000_000),
        PriceTable({}),
        lambda _: None,
        nothing_spent,
        Purses(nobody_spent),
    )
    exits = Exits(Hosts(Database(home / "unused"), []), lambda *_: None, Network())
    house = House(
        home=home, run_dir=home / "run", cli=bundled_cli(), limits=Limits(),
        sandboxed=sandboxed, cap_usd=None, exits=exits,
    )  # fmt: skip
    workspace = Workspaces(home / "workspaces").ensure("w1")
    launched = await Launcher(house, broker).launch("c1", workspace, environment(1))
    session = "00000000-0000-4000-8000-000000000001"
    opening = Opening("c1", workspace, session, False, Effective(), None)
    gate = Gate(workspace, Effective(), MessageCalls(), None, settled)
    sending = Outgoing(workspace.work).server()
    chosen = replace(
        options(opening, gate, "", launched, sending, lambda _line: None, bypass=False),
        allowed_tools=SEARCH, can_use_tool=None, hooks=None,
    )  # fmt: skip
    found = []
    try:
        async with ClaudeSDKClient(chosen) as client:
            for tool, given in calls:
                await client.query(f"tool {tool} {json.dumps(given)}")
                found.append(await _result(client, tool))
    finally:
        await launched.close()
        await broker.close()
    return found


async def _result(client: ClaudeSDKClient, tool: str) -> str:
    made: set[str] = set()
    said = ""
    async for message in client.receive_response():
        content = getattr(message, "content", None)
        for block in content if isinstance(content, list) else []:
            if isinstance(block, ToolUseBlock) and block.name == tool:
                made.add(block.id)
            elif isinstance(block, ToolResultBlock) and block.tool_use_id in made:
                said += json.dumps(block.content, ensure_ascii=False)
    return said


def main() -> None:
    home, mode, model = sys.argv[1:]
    calls = [(tool, given) for tool, given in json.load(sys.stdin)]
    print(json.dumps(asyncio.run(searched(Path(home), mode == "required", model, calls))))


if __name__ == "__main__":
    main()
