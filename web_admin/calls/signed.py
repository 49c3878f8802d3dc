"""Signed calls over a Unix socket, to the agent service and to the bridge."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from agent_service.contract import errors, signing

CALLER = "admin"
CALL_SECONDS = 30.0


class Caller:
    """Signs each attempt at a call anew: aiohttp repeats by itself one whose connection broke."""

    def __init__(
        self,
        service: str,
        socket: Path,
        audience: str,
        keys: list[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`service` is what people know it as. Raises ValueError for a key that is too short."""
        self._service = service
        self._socket = socket
        self._signer = signing.Signer(CALLER, audience, keys)
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self, method: str, path: str, body: object | None = None, *, seconds: float = CALL_SECONDS
    ) -> Any:
        """The JSON of the answer. Raises `ServiceError`."""
        raw = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        async with self._request(method, path, raw, seconds) as answer:
            return await answer.json()

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a GET, to be read piece by piece. Raises `ServiceError`."""
        async with self._request("GET", path, b"", None) as answer:
            yield answer

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, raw: bytes, seconds: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=5, sock_read=CALL_SECONDS * 4)
        headers = {"Content-Type": "application/json"} if raw else {}
        try:
            async with self._open().request(
                method,
                URL(f"http://service{path}", encoded=True),
                data=io.BytesIO(raw) if raw else None,
                headers=headers,
                middlewares=(self._signing(method, path, raw),),
                timeout=timeout,
            ) as answer:
                if answer.status >= 300:
                    raise errors.from_json(await _json_of(answer), answer.status)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(error) from error

    def _signing(self, method: str, path: str, raw: bytes) -> aiohttp.ClientMiddlewareType:
        digest = hashlib.sha256(raw).hexdigest()

        async def sign(
            request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            request.headers["Authorization"] = self._signer.header_of(
                method, path, digest, now=self._clock()
            )
            return await send(request)

        return sign

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self._socket), limit=0), auto_decompress=False
            )
        return self._session

    def _away(self, error: Exception) -> errors.Unavailable:
        why = str(error) or type(error).__name__
        return errors.Unavailable(
            f"The {self._service} is not reachable ({why}).",
            remedy="Look whether it runs: `bascule doctor` says, and its log says why not.",
        )


async def _json_of(answer: aiohttp.ClientResponse) -> object:
    try:
        return json.loads(await answer.read())
    except (ValueError, asyncio.IncompleteReadError):
        return None


def path(*parts: str, **query: str | int) -> str:
    """`/v1/…` with each part quoted, and a query of what is not empty."""
    made = "/v1/" + "/".join(quote(part, safe="") for part in parts)
    asked = {name: value for name, value in query.items() if value not in ("", 0)}
    return f"{made}?{urlencode(asked)}" if asked else made
