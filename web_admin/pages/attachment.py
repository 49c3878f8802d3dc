"""Something that is sent to be saved, never to be shown by a browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import structlog
from aiohttp import ClientError, web

from web_admin.entry import headers

log = structlog.get_logger()


async def send(
    request: web.Request,
    name: str,
    kind: str,
    parts: AsyncIterator[bytes],
    size: int | None = None,
) -> web.StreamResponse:
    """Whatever it is and is called. Where its source breaks off, so does the answer: nobody takes
    it for whole."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100] or "file"
    exact = quote(name.encode("utf-8", "replace")[:200], safe="")
    answer = web.StreamResponse(
        headers={
            "Content-Type": kind,
            "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}",
            "Content-Security-Policy": headers.SANDBOX,
        }
    )
    if size is not None:
        answer.content_length = size
    await answer.prepare(request)
    try:
        async for part in parts:
            await answer.write(part)
        await answer.write_eof()
    except (ClientError, OSError) as error:
        log.warning("attachment broken off", path=request.path, reason=str(error))
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError(str(error)) from error
    return answer
