"""The SDK's messages as events of the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    Message,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from agent_service.claude import show, trouble
from agent_service.claude.outward import Outward
from agent_service.contract.events import (
    Event,
    Text,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
)
from agent_service.policy.canonical import target_sha256
from agent_service.turns.port import Deferred, Ended, SessionItem

SUMMARY_LIMIT = 500


class Translator:
    """Translates the messages of one prompt. Make a new one for each."""

    def __init__(
        self,
        workdir: Path,
        cost: Callable[[ResultMessage], float],
        outward: Outward,
        why: Callable[[str, dict[str, Any]], str],
        *,
        own: bool = False,
    ) -> None:
        """`cost`: US dollars since it was asked last. The CLI's own sum is no help: after a resume
        it counts the past again. `why`: why a call asks, in words for people. `own`: it runs on
        the person's own sign-in."""
        self._why = why
        self._own = own
        self._outward = outward
        self._cost = cost
        self._workdir = workdir
        self._error: str | None = None
        self._error_text = ""

    def items(self, message: Message) -> Iterator[SessionItem]:
        """What a message means; `Deferred` or `Ended` for the last one."""
        if isinstance(message, StreamEvent):
            yield from self._delta(message)
        elif isinstance(message, AssistantMessage):
            yield from self._assistant(message)
        elif isinstance(message, UserMessage):
            yield from self._tool_results(message)
        elif isinstance(message, ResultMessage):
            yield from self._result(message)
        elif isinstance(message, SystemMessage) and message.subtype == "api_retry":
            yield trouble.retry(message.data)

    def _delta(self, message: StreamEvent) -> Iterator[Event]:
        delta = message.event.get("delta", {})
        if message.parent_tool_use_id is None and delta.get("type") == "text_delta":
            yield TextDelta(str(delta.get("text", "")))

    def _assistant(self, message: AssistantMessage) -> Iterator[Event]:
        parent = message.parent_tool_use_id or ""
        if message.error is not None:
            # Its text is the CLI's own wording of the error, not an answer.
            self._error = message.error
            self._error_text = " ".join(b.text for b in message.content if isinstance(b, TextBlock))
            return
        for block in message.content:
            if isinstance(block, TextBlock) and not parent and block.text.strip():
                yield Text(block.text)
            elif isinstance(block, ToolUseBlock):
                title = show.title(block.name, block.input, self._workdir)
                yield ToolStarted(block.id, block.name, title, parent)

    def _tool_results(self, message: UserMessage) -> Iterator[Event]:
        if isinstance(message.content, str):
            return
        for block in message.content:
            if isinstance(block, ToolResultBlock):
                # Cleaned before it is cut: half a key is not found any more.
                result = self._outward.text(_text(block.content))
                summary = show.visible(result)[:SUMMARY_LIMIT]
                yield ToolFinished(block.tool_use_id, not block.is_error, summary)

    def _result(self, message: ResultMessage) -> Iterator[SessionItem]:
        usage = message.usage or {}
        yield Usage(
            input_tokens=sum(
                int(usage.get(key) or 0)
                for key in (
                    "input_tokens",
                    "cache_creation_input_tokens",
                    "cache_read_input_tokens",
                )
            ),
            output_tokens=int(usage.get("output_tokens") or 0),
            cost_usd=self._cost(message),
        )
        deferred = message.deferred_tool_use
        if deferred is not None:
            yield Deferred(
                tool_use_id=deferred.id,
                tool=deferred.name,
                input=deferred.input,
                decision=show.decision(
                    deferred.name,
                    deferred.input,
                    self._workdir,
                    self._why(deferred.name, deferred.input),
                ),
                file_sha256=target_sha256(deferred.name, deferred.input, self._workdir),
            )
        else:
            yield self._ended(message)

    def _ended(self, message: ResultMessage) -> Ended:
        if (message.terminal_reason or "").startswith("aborted"):
            return Ended("interrupted", "stopped", "Stopped.")
        if self._error is None and not message.is_error:
            return Ended("completed")
        text = self._error_text or message.result or ", ".join(message.errors or ())
        said = self._outward.text(text)
        return trouble.ended(message.api_error_status, self._error or "", said, own=self._own)


def _text(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", f"[{part.get('type')}]")) for part in content)
    return content or ""
