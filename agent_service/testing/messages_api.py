"""A server that speaks the Messages API and answers by script (README.md has the language).

python -m agent_service.testing.messages_api --port 0 --ready-file PATH
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import secrets
import signal
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from agent_service.testing import sse
from agent_service.testing.reply import Reply, reply
from agent_service.testing.request import Request
from agent_service.testing.side import side_answer
from agent_service.testing.steps import Drop, Fail, Hang, Malformed, Say

_BODY: web.RequestKey[dict[str, Any]] = web.RequestKey("body", dict)
_LARGEST_BODY = 64 * 1024 * 1024
_PING_EVERY = 5.0
_REMEMBERED = 1000
_READ_BEFORE_DROP = 0.05  # a client forgets what it has not read when the connection breaks
_MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")


@dataclass(frozen=True)
class Recorded:
    """One request as it arrived. `body` is None where there was none that is a JSON object."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None
    time: float


class ScriptedMessages:
    """The server; also an async context manager that starts and stops it.

    Any key is accepted, but one must be given; with `api_key`, any other is answered 401.
    `delay` is the time before the first token of an answer. The newest `keep` requests are kept
    in `requests`, oldest first. Conversations are not kept: what a script has done so far is read
    from each request. Only `drop once` and `error ... once` are remembered, for the newest 1000.
    """

    def __init__(self, *, api_key: str | None = None, delay: float = 0, keep: int = 1000) -> None:
        self.requests: deque[Recorded] = deque(maxlen=keep)
        self._api_key = api_key
        self._delay = delay
        self._spent: OrderedDict[str, set[int]] = OrderedDict()
        self._runner: web.AppRunner | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Where it listens, for ANTHROPIC_BASE_URL. Empty until it is started."""
        return self._url

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[self._recorded])
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/messages/count_tokens", self._count_tokens)
        app.router.add_get("/v1/models", _models)
        app.router.add_get("/api/hello", _hello)
        app.router.add_head("/", _hello)
        app.router.add_route("*", "/{rest:.*}", _unknown)
        # A client that goes away ends its handler; nothing that hangs may outlive `stop`.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0]
        self._url = f"http://{bound[0]}:{bound[1]}"

    async def stop(self) -> None:
        """Stop listening and break off what is still being answered. Safe to call twice."""
        runner, self._runner = self._runner, None
        if runner:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @web.middleware
    async def _recorded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await _body(request)
        if body is not None:
            request[_BODY] = body
        self.requests.append(
            Recorded(request.method, request.path_qs, dict(request.headers), body, time.time())
        )
        if request.path.startswith("/v1/") and not self._authorized(request):
            return _error(401)
        return await handler(request)

    def _authorized(self, http: web.Request) -> bool:
        scheme, _, bearer = http.headers.get("Authorization", "").partition(" ")
        given = http.headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
        if self._api_key is None:
            return bool(given)
        return secrets.compare_digest(given.encode(), self._api_key.encode())

    async def _count_tokens(self, http: web.Request) -> web.Response:
        body = http.get(_BODY)
        if body is None:
            return _error(400, "The body is no JSON object.")
        return _json({"input_tokens": Request(body).tokens})

    async def _messages(self, http: web.Request) -> web.StreamResponse:
        body = http.get(_BODY)
        if body is None or not isinstance(body.get("messages"), list):
            return _error(400, "messages: Field required")
        request = Request(body)
        if request.has_empty_text:
            return _error(400, "messages: text content blocks must be non-empty")
        answer = self._answer(request, http.headers)
        if self._delay:
            await asyncio.sleep(self._delay)
        if isinstance(answer.trouble, Hang) and not answer.parts:
            await asyncio.Event().wait()
        if isinstance(answer.trouble, Fail) and not (answer.parts and request.streams):
            return _error(answer.trouble.status)
        if request.streams:
            return await _streamed(http, request, answer)
        return await _at_once(http, request, answer)

    def _answer(self, request: Request, headers: Mapping[str, str]) -> Reply:
        side = side_answer(request, headers)
        if side is not None:
            return Reply((Say(side),))
        key = request.key(headers.get("X-Claude-Code-Session-Id", ""))
        answer = reply(request, self._spent.get(key, ()))
        if answer.spends is not None:
            self._spent.setdefault(key, set()).add(answer.spends)
            self._spent.move_to_end(key)
            while len(self._spent) > _REMEMBERED:
                self._spent.popitem(last=False)
        return answer


async def _streamed(http: web.Request, request: Request, answer: Reply) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
            "request-id": sse.request_id(),
        }
    )
    await response.prepare(http)
    ready = sse.start(request) + sse.ping()
    for event, wait in sse.parts(answer):
        if wait:
            await response.write(ready)
            await _wait(response, wait)
            ready = b""
        ready += event
    match answer.trouble:
        case None:
            await response.write(ready + sse.end(answer))
        case Fail(status):
            await response.write(ready + sse.encoded(sse.error_body(status)))
        case Malformed():
            await response.write(ready + sse.malformed())
        case Drop():
            await response.write(ready + sse.broken_off(answer))
            await asyncio.sleep(_READ_BEFORE_DROP)
            _hang_up(http)
        case Hang():
            await response.write(ready)
            await asyncio.Event().wait()
    return response


async def _at_once(http: web.Request, request: Request, answer: Reply) -> web.StreamResponse:
    for _, wait in sse.parts(answer):
        await asyncio.sleep(wait)
    if isinstance(answer.trouble, Hang):
        await asyncio.Event().wait()
    if isinstance(answer.trouble, Drop):
        _hang_up(http)
    text = json.dumps(sse.whole(request, answer))
    if isinstance(answer.trouble, Malformed):
        text = text[: len(text) // 2]
    return web.Response(
        text=text, content_type="application/json", headers={"request-id": sse.request_id()}
    )


async def _wait(response: web.StreamResponse, seconds: float) -> None:
    """Sleep; a client that is kept waiting hears a ping now and then."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > _PING_EVERY:
        await asyncio.sleep(_PING_EVERY)
        await response.write(sse.ping())
    await asyncio.sleep(left)


def _hang_up(http: web.Request) -> None:
    """Close the connection after what was written, without an end to the response."""
    if http.transport:
        http.transport.close()


async def _body(http: web.Request) -> dict[str, Any] | None:
    try:
        body = json.loads(await http.read())
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _json(body: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.json_response(body, status=status, headers={"request-id": sse.request_id()})


def _error(status: int, message: str = "") -> web.Response:
    response = _json(sse.error_body(status, message), status)
    if status == 429:
        response.headers["retry-after"] = "1"
    return response


async def _models(_: web.Request) -> web.Response:
    data = [
        {"type": "model", "id": m, "display_name": m, "created_at": "2026-01-01T00:00:00Z"}
        for m in _MODELS
    ]
    return _json({"data": data, "has_more": False, "first_id": _MODELS[0], "last_id": _MODELS[-1]})


async def _hello(_: web.Request) -> web.Response:
    return _json({"message": "hello"})


async def _unknown(http: web.Request) -> web.Response:
    return _error(404, f"Not found: {http.method} {http.path}")


async def serve(port: int, ready_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT; the URL is written to `ready_file` once it listens."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = ScriptedMessages(keep=0)
    await server.start(port=port)
    try:
        if ready_file:
            part = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
            part.write_text(server.url)
            part.replace(ready_file)
        await stopped.wait()
    finally:
        await server.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve from the command line. Ends when the process that started it dies."""
    parser = argparse.ArgumentParser(description="A scripted stand-in for the Messages API.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--ready-file", type=Path, help="where to write the URL")
    chosen = parser.parse_args(arguments)
    _end_with(os.getppid())
    asyncio.run(serve(chosen.port, chosen.ready_file))


def _end_with(parent: int) -> None:
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we asked to be told
        raise SystemExit(1)


if __name__ == "__main__":
    main()
