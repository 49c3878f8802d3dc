"""One session's way to the model: where it listens, and how many may come at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from aiohttp import web

from agent_service.broker.tokens import SessionToken

MOST_CONNECTIONS = 64
"""Of one session."""
TOO_MANY = "This session asks for too much at once. Try again in a moment."


def error_body(kind: str, message: str) -> dict[str, object]:
    """An error in the form of the Messages API."""
    return {"type": "error", "error": {"type": kind, "message": message}}


class _TooMany(asyncio.Protocol):
    """Answers a connection too many, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream
        body = json.dumps(error_body("rate_limit_error", TOO_MANY)).encode()
        transport.write(
            b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n"
            b"Retry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        transport.close()


class Gate:
    """`token` is for the session's environment.

    It listens on `socket`, which a sandbox shows its session; where there is no sandbox, on
    loopback at `url`. Of more than `MOST_CONNECTIONS`, each is told so and cut off.
    """

    def __init__(self, token: SessionToken, runner: web.AppRunner, socket: Path | None) -> None:
        self.token = token
        self.socket = socket
        self.url = ""
        self._runner = runner
        self._listening: asyncio.Server | None = None

    def _accept(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= MOST_CONNECTIONS:
            return _TooMany()
        return server()

    async def open(self) -> None:
        """Listen."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        if self.socket is None:
            self._listening = await loop.create_server(self._accept, "127.0.0.1", 0)
            self.url = "http://{}:{}".format(*self._listening.sockets[0].getsockname())
            return
        self.socket.unlink(missing_ok=True)
        self._listening = await loop.create_unix_server(self._accept, str(self.socket))
        self.socket.chmod(0o600)

    async def close(self) -> None:
        """Void the token and stop listening; what is being answered is broken off. Safe to
        repeat."""
        self.token.void = True
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()
        if self.socket is not None:
            self.socket.unlink(missing_ok=True)
