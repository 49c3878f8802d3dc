"""The programs of one deployment on this machine, and what each of them may know."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from bridge.supervisor import Program

_SECRETS_OF = {
    "agent_service": ("AGENT_",),
    "bridge": ("BRIDGE_", "SLACK_", "DISCORD_"),
    "web_admin": ("ADMIN_",),
}


def environment_for(module: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what is meant for the other programs: the bridge has no use for the
    model's key, nor the agent service for a chat platform's token."""
    others = tuple(
        prefix for name, prefixes in _SECRETS_OF.items() if name != module for prefix in prefixes
    )
    return {name: value for name, value in environment.items() if not name.startswith(others)}


def programs(
    environment: Mapping[str, str], cwd: Path | None = None, *, pages: bool = False
) -> list[Program]:
    """The agent service, then the bridge, then the web admin where its `pages` are wanted."""
    wanted = [("agent service", "agent_service"), ("bridge", "bridge")]
    if pages:
        wanted.append(("web admin", "web_admin"))
    return [
        Program(name, module, environment_for(module, environment), cwd=cwd)
        for name, module in wanted
    ]


class StopSignals:
    """Signals as an event, for as long as the loop runs; a second one calls `hurry`."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self.asked = asyncio.Event()
        self.hurry: Callable[[], None] = _nothing
        for number in numbers:
            asyncio.get_running_loop().add_signal_handler(number, self._heard)

    def leave(self, number: signal.Signals) -> None:
        """From now on this signal does nothing here."""
        asyncio.get_running_loop().add_signal_handler(number, _nothing)

    def _heard(self) -> None:
        if self.asked.is_set():
            self.hurry()
        self.asked.set()


def _nothing() -> None:
    pass
