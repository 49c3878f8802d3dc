"""What the gate found out about a request, for whoever answers it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from web_admin.entry.arrival import Arrival
from web_admin.store.sessions import Session

ARRIVAL = web.RequestKey("arrival", Arrival)
SESSION = web.RequestKey("session", Session)
CSRF = web.RequestKey("csrf", str)
FORM: web.RequestKey[Any] = web.RequestKey("form", object)


def field(request: web.Request, name: str, most: int = 1000) -> str:
    """One value of the form that was sent; empty where there is none, cut where it is too long."""
    value = request[FORM].get(name, "")
    return value[:most].strip() if isinstance(value, str) else ""
