"""Which tool calls stand together in one message of the model.

A deferral keeps only one call of a message and loses the others without a word, and a hook is not
told of a call's siblings. The stream of partial messages tells: this follows it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

SIBLINGS_SECONDS = 10
"""How long a hook waits for the end of its message (it takes about 10 ms)."""


@dataclass(slots=True)
class Call:
    id: str
    tool: str
    parts: list[str] = field(default_factory=list)

    @property
    def input(self) -> dict[str, Any]:
        try:
            value = json.loads("".join(self.parts) or "{}")
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class MessageCalls:
    """The calls of the main session's messages. Feed it every raw stream event without parent."""

    def __init__(self) -> None:
        self.started = False
        """A message was seen: before that, calls can only be left over from before a resume."""
        self._current: list[Call] = []
        self._by_index: dict[int, Call] = {}
        self._messages: dict[str, list[Call]] = {}
        self._changed = asyncio.Condition()

    async def see(self, event: dict[str, Any]) -> None:
        """Take in one stream event, in order."""
        kind = event.get("type")
        if kind == "message_start":
            self.started = True
            self._current, self._by_index = [], {}
        elif kind == "content_block_start":
            block = event.get("content_block", {})
            if block.get("type") == "tool_use":
                call = Call(str(block.get("id")), str(block.get("name")))
                self._current.append(call)
                self._by_index[event.get("index", -1)] = call
        elif kind == "content_block_delta":
            delta = event.get("delta", {})
            known = self._by_index.get(event.get("index", -1))
            if known is not None and delta.get("type") == "input_json_delta":
                known.parts.append(str(delta.get("partial_json", "")))
        elif kind == "message_stop":
            async with self._changed:
                self._messages = {call.id: self._current for call in self._current}
                self._changed.notify_all()

    async def siblings(self, tool_use_id: str) -> list[Call]:
        """All calls of the message that holds this one, itself included, in order.

        Empty where that message was not seen in time, as after a resume.
        """
        try:
            async with asyncio.timeout(SIBLINGS_SECONDS), self._changed:
                await self._changed.wait_for(lambda: tool_use_id in self._messages)
                return self._messages[tool_use_id]
        except TimeoutError:
            return []
