"""The headers that every answer has."""

from __future__ import annotations

from aiohttp import web

from web_admin.entry.arrival import Arrival

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SANDBOX = "default-src 'none'; sandbox; frame-ancestors 'none'"
"""Of what is somebody's file: whatever it is, it does nothing here."""
YEAR = 31_536_000


def secure(answer: web.StreamResponse, arrival: Arrival) -> None:
    """Before the answer begins. What a handler set itself stays."""
    headers = answer.headers
    headers.setdefault("Content-Security-Policy", POLICY)
    headers.setdefault("Cache-Control", "no-store")
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    # Not `no-referrer`: with that, browsers do not say the origin of our own forms either.
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=(), payment=()"
    if arrival.secure:
        headers["Strict-Transport-Security"] = f"max-age={YEAR}"
    headers.popall("Server", None)
