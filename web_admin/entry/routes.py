"""The route table of the pages: who may open what. What is not in it is not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from aiohttp import web

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Who: TypeAlias = Literal["anyone", "member", "admin", "operator"]
"""`anyone`: also without signing in. Each includes those after it."""
RANKS: dict[str, int] = {"member": 1, "admin": 2, "operator": 3}
FORM_LIMIT = 512 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """One method on one path below PUBLIC_URL."""

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    who: Who

    @property
    def key(self) -> str:
        return f"{self.method} {self.path}"


def may(role: str, who: Who) -> bool:
    """Whether somebody of this role may open a page for `who`."""
    return who == "anyone" or RANKS.get(role, 0) >= RANKS[who]
