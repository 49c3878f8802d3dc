"""Discord's rate limits: buckets told in headers, and 429 once one is empty."""

from __future__ import annotations

import re
import time

from aiohttp import web

from tests.adapters.discord_double.body import answer


class Limits:
    """`limits` has requests a window in seconds, by method and route, such as `POST /messages`."""

    def __init__(self) -> None:
        self.limits: dict[str, tuple[int, float]] = {}
        self.refused = 0
        """So many requests came while their bucket was empty."""
        self._windows: dict[str, tuple[float, int]] = {}

    def early(self, request: web.Request) -> web.Response | None:
        route = f"{request.method} /{request.path.rstrip('/').split('/')[-1]}"
        if re.search(r"/messages/\d+$", request.path):
            route = f"{request.method} /message"
        if route not in self.limits:
            return None
        most, window = self.limits[route]
        now = time.monotonic()
        began, used = self._windows.get(route, (now, 0))
        if now - began >= window:
            began, used = now, 0
        left = max(began + window - now, 0.01)
        headers = {
            "X-RateLimit-Limit": str(most), "X-RateLimit-Bucket": "b" + route.replace(" /", ""),
            "X-RateLimit-Remaining": str(max(most - used - 1, 0)),
            "X-RateLimit-Reset": str(time.time() + left),
            "X-RateLimit-Reset-After": f"{left:.3f}", "Via": "1.1 google",
        }  # fmt: skip
        if used >= most:
            self.refused += 1
            body = {"message": "You are being rate limited.", "retry_after": left, "global": False}
            headers |= {"Retry-After": str(int(left) + 1), "X-RateLimit-Scope": "user"}
            return answer(body, status=429, headers=headers)
        self._windows[route] = (began, used + 1)
        request["limits"] = headers
        return None
