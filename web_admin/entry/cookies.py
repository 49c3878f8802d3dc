"""The cookies: of whom is signed in, and of a visitor who is not."""

from __future__ import annotations

from aiohttp import web

from web_admin.entry.public import PublicUrl


class Cookies:
    """Names and ways of one deployment. None is ever sent in the clear but on loopback."""

    def __init__(self, public: PublicUrl) -> None:
        self._path = f"{public.base}/"

    def name(self, kind: str, *, secure: bool) -> str:
        """The browser itself refuses such a name from a host or a path that may not set it."""
        if not secure:
            return f"bascule_{kind}"
        return f"__Host-bascule_{kind}" if self._path == "/" else f"__Secure-bascule_{kind}"

    def read(self, request: web.Request, kind: str, *, secure: bool) -> str:
        return request.cookies.get(self.name(kind, secure=secure), "")

    def set(
        self, answer: web.StreamResponse, kind: str, value: str, *, secure: bool, seconds: float
    ) -> None:
        answer.set_cookie(
            self.name(kind, secure=secure),
            value,
            path=self._path,
            max_age=int(seconds),
            secure=secure,
            httponly=True,
            # Lax: a link from the chat to a page has to find its reader signed in. What changes
            # something is a POST, which is never sent along from elsewhere.
            samesite="Lax",
        )

    def clear(self, answer: web.StreamResponse, kind: str, *, secure: bool) -> None:
        self.set(answer, kind, "", secure=secure, seconds=0)
