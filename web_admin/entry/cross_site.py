"""Whether a form was sent from our own pages: by what the browser says, and by a token.

CrossSite       the form came from elsewhere, or its page is too old
"""

from __future__ import annotations

import hmac

from aiohttp import web

from web_admin.entry.arrival import Arrival

FIELD = "csrf"
HEADER = "X-CSRF-Token"


class CrossSite(Exception):
    """The text is for who sent the form; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def check_origin(request: web.Request, arrival: Arrival) -> None:
    """What the browser says about the page that sent it. Raises `CrossSite`."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is None and origin is None:
        raise CrossSite(
            "The browser does not say which page sent this form.",
            "Use a browser of the last years, and look whether a proxy takes headers away.",
        )
    if site not in (None, "same-origin"):
        raise CrossSite(
            "This form was sent from another site.", "Open the page here and send it again."
        )
    if origin is not None and origin != arrival.origin:
        raise CrossSite(
            f"Your browser says it is at {origin[:100]}, and this looks like {arrival.origin} from "
            "here.",
            "If that is the same place, a proxy does not pass on the scheme or the host: "
            "docs/admin.md has the lines for it.",
        )


def check_token(given: str, expected: str) -> None:
    """Raises `CrossSite`."""
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        raise CrossSite(
            "This page is too old, or was opened before you signed in.",
            "Go back, load the page again and send it once more.",
        )
