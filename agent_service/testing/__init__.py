"""A scripted stand-in for Anthropic's Messages API: the real Claude CLI runs against it.

The server is imported on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_service.testing.messages_api import ScriptedMessages

__all__ = ["ScriptedMessages"]


def __getattr__(name: str) -> Any:
    if name == "ScriptedMessages":
        from agent_service.testing.messages_api import ScriptedMessages

        return ScriptedMessages
    raise AttributeError(name)
