"""Pages from templates. Everything in them is escaped; nothing in them is code."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from agent_service.contract import size_in_words
from web_admin.entry.found import CSRF, SESSION
from web_admin.entry.public import PublicUrl
from web_admin.entry.routes import Who, may

MENU: tuple[tuple[str, str, Who], ...] = (
    ("/", "Overview", "admin"),
    ("/decisions", "Decisions", "member"),
    ("/conversations", "Conversations", "admin"),
    ("/claude", "Claude", "operator"),
    ("/modes", "Modes and rules", "admin"),
    ("/people", "People", "admin"),
    ("/workspaces", "Workspaces", "admin"),
    ("/usage", "Usage", "admin"),
    ("/audit", "Audit", "operator"),
    ("/settings", "Settings", "operator"),
    ("/me", "My page", "member"),
)


class Render:
    """The templates of one deployment."""

    def __init__(self, public: PublicUrl) -> None:
        self._public = public
        self._environment = Environment(
            loader=PackageLoader("web_admin"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "when": when,
            "ago": ago,
            "size": size_in_words,
            "plain": plain,
            "usd": usd,
        }
        self._environment.globals |= {"base": public.base, "v": version("bascule")}

    def page(
        self, request: web.Request, template: str, *, status: int = 200, **data: Any
    ) -> web.Response:
        """The answer with this page."""
        session = request.get(SESSION)
        menu = [
            (f"{self._public.base}{path}", title, _is_here(request.path, self._public.base, path))
            for path, title, who in MENU
            if session is not None and may(session.role, who)
        ]
        text = self._environment.get_template(template).render(
            session=session,
            csrf=request.get(CSRF, ""),
            menu=menu,
            here=request.path,
            **data,
        )
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def _is_here(path: str, base: str, page: str) -> bool:
    inside = path[len(base) :]
    return inside == page if page == "/" else inside == page or inside.startswith(page + "/")


def when(at: float | None) -> str:
    """`24 Nov 2026, 14:26 UTC`; a dash for never."""
    if not at:
        return "–"
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b %Y, %H:%M UTC")


def ago(at: float | None, now: float | None = None) -> str:
    """`3 minutes ago`, or `in 2 hours`."""
    if not at:
        return "never"
    seconds = (time.time() if now is None else now) - at
    words = _span(abs(seconds))
    if abs(seconds) < 5:
        return "now"
    return f"{words} ago" if seconds > 0 else f"in {words}"


def _span(seconds: float) -> str:
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{int(seconds)} s"


def plain(text: str) -> str:
    """Words that were written for a chat, without their marks."""
    return text.replace("`", "").replace("**", "").replace("\u200b", "")


def usd(amount: float) -> str:
    return f"{amount:,.2f} US$" if amount >= 0.005 or not amount else "< 0.01 US$"
