"""`/healthz`: whether the bridge can do its work, in parts, without secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

PART_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Part:
    """How one part is. `degraded` works for now and is worth a look."""

    state: Literal["ok", "starting", "degraded", "failed"]
    detail: str = ""
    remedy: str = ""


Check = Callable[[], Awaitable[Part]]
CHECKS: web.AppKey[dict[str, Check]] = web.AppKey("checks", dict)


def init_app(app: web.Application, checks: dict[str, Check]) -> None:
    """Register the public route `/healthz`: 200 when no part is starting or failed, else 503."""
    app[CHECKS] = checks
    app.router.add_get("/healthz", _healthz)


async def look(checks: dict[str, Check]) -> dict[str, Part]:
    """Every part, each within a few seconds: a frozen one counts as failed."""
    parts = await asyncio.gather(*(_part(check) for check in checks.values()))
    return dict(zip(checks, parts, strict=True))


async def _part(check: Check) -> Part:
    try:
        async with asyncio.timeout(PART_SECONDS):
            return await check()
    except TimeoutError:
        return Part("failed", f"No answer within {PART_SECONDS:.0f} s.")
    except Exception as error:  # noqa: BLE001 - health must answer whatever is broken
        return Part("failed", f"{type(error).__name__}: its check failed; the log may say why.")


async def _healthz(request: web.Request) -> web.Response:
    parts = await look(request.app[CHECKS])
    well = all(part.state in ("ok", "degraded") for part in parts.values())
    body = {
        "state": "ok" if well else "failed",
        "parts": {
            name: {"state": part.state, "detail": part.detail, "remedy": part.remedy}
            for name, part in parts.items()
        },
    }
    return web.json_response(body, status=200 if well else 503)
