"""The route table of the web admin's calls: what each takes and gives.

It is the one source for the router and the signature check; nothing is public here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY_LIMIT = 256 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path."""

    method: str
    path: str
    handler: Handler
    body: type[Any] | None = None


def key(method: str, path: str) -> str:
    return f"{method} {path}"
