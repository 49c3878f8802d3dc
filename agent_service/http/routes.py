"""The route table: what each route takes, gives and who may call it.

It is the one source for the router, the signature check and the OpenAPI document. A route is
public only where it says so here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

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


def key(method: str, path: str) -> str:
    return f"{method} {path}"
