"""The stylesheet, the scripts and the icon: read once, served under their own names only."""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

from web_admin.entry.routes import Handler, Page

_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "txt": "text/plain"}
NAMES = (
    "style.css",
    "link.js",
    "icon.svg",
    "vendor/htmx-2.0.11.min.js",
    "vendor/htmx-LICENSE.txt",
)
HOUR = 3600


class Statics:
    """Files of the package; nothing of the machine's."""

    def __init__(self) -> None:
        top = files("web_admin") / "static"
        self._files = {name: top.joinpath(*name.split("/")).read_bytes() for name in NAMES}

    def pages(self) -> list[Page]:
        return [Page("GET", f"/static/{name}", self._handler(name), "anyone") for name in NAMES]

    def _handler(self, name: str) -> Handler:
        kind = _KINDS[name.rpartition(".")[2]]

        async def serve(_request: web.Request) -> web.StreamResponse:
            return web.Response(
                body=self._files[name],
                content_type=kind,
                charset="utf-8",
                headers={"Cache-Control": f"public, max-age={HOUR}"},
            )

        return serve
