"""A reply as the Messages API sends it: one JSON body, or server-sent events."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

from agent_service.testing.reply import Reply, ToolUse
from agent_service.testing.request import Request
from agent_service.testing.steps import Say, Think

ERRORS = {
    400: ("invalid_request_error", "The script asked for a bad request."),
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "The script asked for a refusal."),
    404: ("not_found_error", "Not found."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your rate limit. Try again later."),
    500: ("api_error", "Internal server error"),
    529: ("overloaded_error", "Overloaded"),
}

Event = tuple[bytes, float]  # an encoded event, and the seconds to wait before it is sent


def error_body(status: int, message: str = "") -> dict[str, Any]:
    """The body that goes with a status."""
    kind, usual = ERRORS[status]
    return {
        "type": "error",
        "error": {"type": kind, "message": message or usual},
        "request_id": request_id(),
    }


def request_id() -> str:
    """A fresh id for the `request-id` header."""
    return "req_011C" + secrets.token_hex(10)


def encoded(event: dict[str, Any]) -> bytes:
    """One event as it is written on the wire."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def whole(request: Request, reply: Reply) -> dict[str, Any]:
    """The message as a client gets it that does not stream."""
    blocks: list[dict[str, Any]] = []
    for part in reply.parts:
        if isinstance(part, Say):
            blocks.append({"type": "text", "text": part.text})
        elif isinstance(part, ToolUse):
            blocks.append(_tool_use(part, dict(part.call.input)))
    return {
        **_message(request),
        "content": blocks,
        "stop_reason": _stop_reason(reply),
        "usage": {**_usage(request), "output_tokens": _output_tokens(reply)},
    }


def start(request: Request) -> bytes:
    """The first event of a stream."""
    return encoded({"type": "message_start", "message": _message(request)})


def parts(reply: Reply) -> Iterator[Event]:
    """The events between the first and the closing ones."""
    index = 0
    wait = 0.0
    for part in reply.parts:
        if isinstance(part, Think):
            wait += part.seconds
            continue
        for event, pause in _block(index, part):
            yield event, wait + pause
            wait = 0.0
        index += 1
    if wait:
        yield ping(), wait


def end(reply: Reply) -> bytes:
    """The closing events of a stream."""
    delta = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    usage = {"output_tokens": _output_tokens(reply)}
    return encoded({"type": "message_delta", "delta": delta, "usage": usage}) + encoded(
        {"type": "message_stop"}
    )


def broken_off(reply: Reply) -> bytes:
    """The start of a text block that never ends."""
    index = sum(not isinstance(part, Think) for part in reply.parts)
    text = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": "This sentence breaks off in the"}
    return encoded(
        {"type": "content_block_start", "index": index, "content_block": text}
    ) + encoded({"type": "content_block_delta", "index": index, "delta": delta})


def malformed() -> bytes:
    """An event whose data is no JSON."""
    return b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": \n\n'


def ping() -> bytes:
    """The event that keeps a slow stream alive."""
    return encoded({"type": "ping"})


def _block(index: int, part: Say | ToolUse) -> Iterator[Event]:
    if isinstance(part, Say):
        begun: dict[str, Any] = {"type": "text", "text": ""}
        words = re.findall(r"\s*\S+\s*", part.text) or [part.text]
        pause = part.seconds / len(words)
        deltas = [{"type": "text_delta", "text": word} for word in words]
    else:
        begun = _tool_use(part, {})
        text = json.dumps(dict(part.call.input))
        pause = 0.0
        deltas = [
            {"type": "input_json_delta", "partial_json": piece}
            for piece in ("", text[: len(text) // 2], text[len(text) // 2 :])
        ]
    yield encoded({"type": "content_block_start", "index": index, "content_block": begun}), 0.0
    for delta in deltas:
        yield encoded({"type": "content_block_delta", "index": index, "delta": delta}), pause
    yield encoded({"type": "content_block_stop", "index": index}), 0.0


def _tool_use(part: ToolUse, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": part.id, "name": part.call.tool, "input": given}


def _message(request: Request) -> dict[str, Any]:
    return {
        "id": "msg_01" + secrets.token_hex(11),
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(request),
    }


def _usage(request: Request) -> dict[str, int]:
    return {
        "input_tokens": request.tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
    }


def _output_tokens(reply: Reply) -> int:
    written = sum(
        len(part.text) if isinstance(part, Say) else len(json.dumps(dict(part.call.input)))
        for part in reply.parts
        if not isinstance(part, Think)
    )
    return written // 4 + 1


def _stop_reason(reply: Reply) -> str:
    return "tool_use" if any(isinstance(p, ToolUse) for p in reply.parts) else "end_turn"
