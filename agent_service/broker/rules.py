"""What an agent may ask of the model: a request is parsed, and refused where it would make the
provider act for it.

Whoever runs in a sandbox holds the session's token, so they can write requests of their own. The
provider would fetch a URL, run code or call a server for them: a way out of the sandbox. So fields,
tools and content are allowed by list, not forbidden by list.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

FIELDS = frozenset(
    {"model", "messages", "system", "max_tokens", "metadata", "stop_sequences", "stream"}
    | {"temperature", "top_k", "top_p", "tools", "tool_choice", "thinking", "output_config"}
    | {"context_management", "cache_control"}
)
"""Fields of a request to `/v1/messages` that act on nothing but the answer. Left out on purpose:
`mcp_servers` and `container`, by which the provider calls servers and runs code."""
CLIENT_TOOLS = frozenset({"bash", "text_editor", "memory", "computer", "custom"})
"""Kinds of tools that the client runs. A type is one of these, or one with a date behind it."""
SOURCES = frozenset({"base64", "text", "content"})
"""Where an image or a document may come from: the request itself."""
BLOCKS = frozenset(
    {"text", "image", "document", "search_result", "tool_use", "tool_result", "tool_reference"}
    | {"thinking", "redacted_thinking", "compaction"}
)
"""Content that only says something. The provider's own tools have blocks of theirs."""
DEEPEST = 64


class Refused(Exception):
    """The request is not passed on. The text says why and fits into an error of the API."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What matters of a request that may be passed on."""

    model: str
    max_tokens: int
    streams: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """`models` are patterns such as `claude-*`; empty allows any. `max_tokens` of one answer."""

    models: tuple[str, ...] = ()
    max_tokens: int = 128_000

    def check(self, raw: bytes, *, counting: bool = False) -> Checked:
        """Look into a request to `/v1/messages`; `counting` for the one that counts tokens.

        Raises `Refused`. The body is passed on as it came, so that nothing may stand in it that
        two parsers could read in two ways.
        """
        body = _parsed(raw)
        if unknown := sorted(set(body) - FIELDS):
            raise Refused(f"`{unknown[0][:60]}` is not allowed here.")
        model = body.get("model")
        if not isinstance(model, str) or not self._allowed(model):
            raise Refused("This model is not allowed here.")
        most = body.get("max_tokens", 0 if counting else None)
        if isinstance(most, bool) or not isinstance(most, int):
            raise Refused("`max_tokens` must be a whole number.")
        if most > self.max_tokens:
            raise Refused(f"`max_tokens` is over {self.max_tokens}.")
        _check_tools(body.get("tools", []))
        for message in _list(body.get("messages", []), "messages"):
            _check_content(_dict(message, "messages").get("content", ""))
        _check_content(body.get("system", ""))
        streams = body.get("stream", False)
        if not isinstance(streams, bool):
            # Whoever takes 1 for true answers as a stream, and its tokens would not be counted.
            raise Refused("stream: not a boolean.")
        return Checked(model, most, streams)

    def _allowed(self, model: str) -> bool:
        return not self.models or any(fnmatch.fnmatchcase(model, p) for p in self.models)


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_such_number
        )
    except (ValueError, RecursionError):
        raise Refused("The request is not JSON.") from None
    return _dict(body, "The request")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("A field stands in the request twice.")
    return found


def _no_such_number(_text: str) -> None:
    raise ValueError


def _dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(f"{what}: not an object.")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(f"{what}: not a list.")
    return value


def _check_tools(tools: Any) -> None:
    for tool in _list(tools, "tools"):
        kind = _dict(tool, "tools").get("type", "custom")
        family = str(kind).rstrip("0123456789").removesuffix("_")
        if not isinstance(kind, str) or family not in CLIENT_TOOLS:
            raise Refused(f"Tools of type `{str(kind)[:60]}` are not allowed here.")


def _check_content(content: Any) -> None:
    if isinstance(content, str):
        return
    for block in _blocks(_list(content, "content"), DEEPEST):
        kind = block.get("type")
        if kind not in BLOCKS:
            raise Refused(f"Content of type `{str(kind)[:60]}` is not allowed here.")
        source = block.get("source")
        if kind in ("image", "document") and _dict(source, "source").get("type") not in SOURCES:
            raise Refused("Images and documents must be part of the request.")


def _blocks(content: list[Any], deepest: int) -> Iterator[dict[str, Any]]:
    """All blocks, also those within results and documents."""
    if not deepest:
        raise Refused("Content is nested too deeply.")
    for item in content:
        block = _dict(item, "content")
        yield block
        inner = [block.get("content")]
        if isinstance(source := block.get("source"), dict):
            inner.append(source.get("content"))
        for more in inner:
            if isinstance(more, list):
                yield from _blocks(more, deepest - 1)
            elif isinstance(more, dict):
                yield from _blocks([more], deepest - 1)
