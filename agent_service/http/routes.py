"""The route table: what each route takes, gives and who may call it.

It is the one source for the router, the signature check and the OpenAPI document. A route is
public only where it says so here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from agent_service.contract.workspaces import UPLOAD_LIMIT

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BRIDGE = "bridge"
ADMIN = "admin"
BODY_LIMIT = 4 * 1024 * 1024
"""Bytes of a JSON body: a prompt of 200,000 characters with quotes fits, escaped or not."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path."""

    method: str
    path: str
    handler: Handler
    summary: str
    callers: frozenset[str] = frozenset()
    public: bool = False
    body: type[Any] | None = None
    answer: Any = None
    stream: bool = False
    """The answer is Server-Sent Events whose data is `answer`."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters with their meaning; all are optional integers."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Optional query parameters that are text."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """The same that must be there."""
    upload: bool = False
    """The body is a file: streamed to a temporary one, which the handler finds as `UPLOAD`."""
    sends: str = "application/json"
    """Content type of the answer; anything but JSON is a stream of bytes."""

    @property
    def body_limit(self) -> int:
        return UPLOAD_LIMIT if self.upload else BODY_LIMIT


def key(method: str, path: str) -> str:
    return f"{method} {path}"
