"""What a request to the Messages API says: the newest words, and what was done since.

Everything is read from the request itself, so the server keeps no conversation and a session
that was resumed elsewhere goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# What the CLI itself puts beside a person's words; the last one after a resumed deferral.
_REMINDER = "<system-reminder>"
_CUT_OFF = "Your response above was cut off mid-stream."
# What the CLI says in a person's place.
_FILES = "<attached>"
_ABOUT_FILES = "what do you see"
"""Stands for the words of a message that has files and no words."""
_NOT_A_PERSON = (
    _FILES,
    "<quoted ",
    "[Image: source:",
    _REMINDER,
    _CUT_OFF,
    "Continue from where you left off.",
    "[Request interrupted by user",
    "Tool loaded.",
)
_CWD = re.compile(r"working directory: *`?([^\n`]+)", re.IGNORECASE)

_PLAN_FILE = re.compile(r"plan(?: file already exists)? at (/\S+\.md)")


@dataclass(frozen=True)
class Made:
    """A tool call since the newest text; `result` is None while there is none."""

    id: str
    name: str
    input: Mapping[str, Any]
    turn: int
    result: str | None
    failed: bool


class Request:
    """A view of one request body; a malformed body reads as an empty one."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body
        self.model = str(body.get("model", ""))
        self.streams = body.get("stream") is True
        tools = body.get("tools")
        self.tools = tuple(
            str(tool.get("name")) for tool in _dicts(tools) if not tool.get("defer_loading")
        )
        self.messages = _dicts(body.get("messages"))

    @cached_property
    def tokens(self) -> int:
        """A plausible number of input tokens, the same for the same body."""
        return len(json.dumps(self.body)) // 4 + 1

    @cached_property
    def system(self) -> str:
        """The system prompt."""
        return "\n".join(_texts(self.body.get("system")))

    @cached_property
    def _words(self) -> list[tuple[int, str]]:
        """Every text of a person, with the index of its message."""
        found = []
        for index, message in enumerate(self.messages):
            if message.get("role") != "user":
                continue
            texts = list(_texts(message.get("content")))
            words = [t for t in texts if t.strip() and not t.lstrip().startswith(_NOT_A_PERSON)]
            if not words and any(text.startswith(_FILES) for text in texts):
                words = [_ABOUT_FILES]
            found += [(index, text) for text in words]
        return found

    @property
    def text(self) -> str:
        """The newest text of a person: the script."""
        return self._words[-1][1] if self._words else ""

    @property
    def has_empty_text(self) -> bool:
        """Whether a text block has nothing in it, which the API refuses."""
        return any(
            block.get("type") == "text" and not str(block.get("text", "")).strip()
            for message in self.messages
            for block in _dicts(message.get("content"))
        )

    @property
    def cut_off(self) -> bool:
        """Whether the CLI kept the start of an answer that broke off, and asks for its rest."""
        newest = self.messages[-1].get("content") if self.messages else None
        return any(text.startswith(_CUT_OFF) for text in _texts(newest))

    @property
    def earlier(self) -> list[str]:
        """A person's texts before the newest, oldest first."""
        return [text for _, text in self._words[:-1]]

    @cached_property
    def made(self) -> list[Made]:
        """The tool calls since the newest text, in order, with their results."""
        start = self._words[-1][0] if self._words else 0
        results = {
            str(block.get("tool_use_id")): block
            for message in self.messages[start:]
            if message.get("role") == "user"
            for block in _dicts(message.get("content"))
            if block.get("type") == "tool_result"
        }
        return [
            _made(block, turn, results.get(str(block.get("id"))))
            for turn, message in enumerate(self.messages[start:])
            if message.get("role") == "assistant"
            for block in _dicts(message.get("content"))
            if block.get("type") == "tool_use"
        ]

    @cached_property
    def attachments(self) -> str:
        """The images and documents of the newest message in words; empty where there are none."""
        newest = self.messages[self._words[-1][0]] if self._words else {}
        kinds = Counter(
            str(source.get("media_type", source.get("type", "unknown type")))
            for block in _dicts(newest.get("content"))
            if block.get("type") in {"image", "document"}
            for source in _dicts([block.get("source")])
        )
        return ", ".join(f"{number} × {kind}" for kind, number in sorted(kinds.items()))

    @cached_property
    def surroundings(self) -> str:
        """What the CLI itself wrote: system prompt, system messages and reminders."""
        said = [self.system]
        for message in self.messages:
            texts = _texts(message.get("content"))
            if message.get("role") == "user":
                texts = (text for text in texts if text.lstrip().startswith(_REMINDER))
            elif message.get("role") != "system":
                continue
            said.extend(texts)
        return "\n".join(said)

    @cached_property
    def cwd(self) -> str:
        """The agent's working directory; empty where the request does not tell."""
        named = _CWD.findall(self.surroundings)
        return str(named[-1]).strip() if named else ""

    @cached_property
    def plan_file(self) -> str:
        """Where the CLI reads the plan from when ExitPlanMode is called; empty if not told."""
        named = _PLAN_FILE.findall(self.surroundings)
        return str(named[-1]) if named else ""

    def offers_on_search(self, tool: str) -> bool:
        """Whether the tool must be loaded with ToolSearch before it is called."""
        loaded = any(
            reference.get("tool_name") == tool
            for message in self.messages
            for block in _dicts(message.get("content"))
            for reference in _dicts(block.get("content"))
        )
        return (
            not loaded
            and tool not in self.tools
            and "ToolSearch" in self.tools
            and tool in self.surroundings.splitlines()
        )

    def touched(self, path: str) -> bool:
        """Whether a file was read or written in this conversation."""
        return any(
            block.get("type") == "tool_use"
            and block.get("name") in {"Read", "Write", "Edit"}
            and block.get("input", {}).get("file_path") == path
            for message in self.messages
            for block in _dicts(message.get("content"))
        )

    def key(self, session: str) -> str:
        """The same for a request and its retries, different for any other."""
        said = [text for _, text in self._words]
        done = [call.id for call in self.made]
        return hashlib.sha256(json.dumps([session, said, done]).encode()).hexdigest()


def _made(block: Mapping[str, Any], turn: int, result: Mapping[str, Any] | None) -> Made:
    given = block.get("input")
    return Made(
        id=str(block.get("id")),
        name=str(block.get("name")),
        input=given if isinstance(given, Mapping) else {},
        turn=turn,
        result=None if result is None else "\n".join(_texts(result.get("content"))),
        failed=result is not None and result.get("is_error") is True,
    )


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in _dicts(content):
        if block.get("type") == "text" and isinstance(block.get("text"), str):
            yield block["text"]
