"""A server that speaks Slack: the Web API, Socket Mode, files, and signed events over HTTP.

`SLACK_API_URL` leads the adapter here. What is kept is in a `Workspace`, which outlives a restart
of the adapter and of this server.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType, web

from adapters.slack.manifest import SCOPES
from tests.adapters.slack_methods import Methods
from tests.adapters.slack_workspace import SlackError, Workspace

BOT_TOKEN, APP_TOKEN, SECRET = "xoxb-canary-bot", "xapp-canary-app", "canary-signing"
ACK_SECONDS = 3.0
"""Slack's own patience."""


class Envelope:
    """Something delivered through a socket, and what came back."""

    def __init__(self, kind: str, payload: Mapping[str, Any], number: int) -> None:
        self.kind, self.payload, self.id = kind, payload, f"env-{number}"
        self.attempt = 0
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def frame(self) -> str:
        made = {"type": self.kind, "envelope_id": self.id, "payload": self.payload}
        if self.kind == "events_api":
            made |= {"retry_attempt": self.attempt, "retry_reason": ""}
        else:
            made["accepts_response_payload"] = True
        return json.dumps(made)


class SlackDouble:
    def __init__(self, space: Workspace | None = None) -> None:
        self.space = space or Workspace()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.scopes: tuple[str, ...] = (*SCOPES, "usergroups:read")
        self.failing = False
        self.errors: dict[str, list[str]] = {}
        """Error codes that the next calls of a method get, each once."""
        self.busy: dict[str, list[float]] = {}
        """Seconds of `Retry-After` that the next calls of a method get."""
        self.breaking: dict[str, int] = {}
        """So many next calls of a method are carried out, and their answer is lost."""
        self.sockets: list[web.WebSocketResponse] = []
        self.opened = 0
        self.envelopes: dict[str, Envelope] = {}
        self.asked_files: list[tuple[str, str]] = []
        """(path, authorization) of every download."""
        self.file_answer: web.Response | None = None
        self.cutting_files = False
        """Downloads break off in the middle."""
        self._turn = 0
        self._through: dict[web.WebSocketResponse, set[str]] = {}
        self._runner: web.AppRunner | None = None
        self.url = ""
        self._port = 0

    async def __aenter__(self) -> SlackDouble:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_get("/socket", self._socket)
        app.router.add_post("/upload/{file}", self._upload)
        app.router.add_get("/files/{file}/{name}", self._download)
        app.router.add_post("/respond", self._respond)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.methods = Methods(self.space, self.url)

    async def stop(self) -> None:
        for socket in list(self.sockets):
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def settings(self, **more: str) -> dict[str, str]:
        """For the adapter."""
        return {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "SLACK_MODE": "socket",
                "SLACK_API_URL": f"{self.url}/api/", **more}  # fmt: skip

    def called(self, method: str) -> list[dict[str, Any]]:
        """The arguments of each call of a method."""
        return [args for name, args in self.calls if name == method]

    async def _api(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        assert not request.query_string, "arguments belong into the body"
        args = await self._args(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        token = args.pop("token", "") or token
        headers = {"X-OAuth-Scopes": ",".join(self.scopes)}
        self.calls.append((method, args))
        if self.busy.get(method):
            after = self.busy[method].pop(0)
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429,
                                     headers={"Retry-After": f"{after:g}"})  # fmt: skip
        if self.failing and method in ("chat.postMessage", "chat.update", "chat.startStream"):
            return web.json_response({"ok": False, "error": "internal_error"}, status=500)
        try:
            want = APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN
            if token != want:
                raise SlackError("invalid_auth")
            if self.errors.get(method):
                raise SlackError(self.errors[method].pop(0), needed="some:scope")
            handler = getattr(self.methods, method.replace(".", "_"), None)
            if handler is None:
                raise SlackError("unknown_method")
            made = handler(args)
        except SlackError as error:
            body = {"ok": False, "error": error.code, **error.more}
            return web.json_response(body, headers=headers)
        finally:
            self.space.note()
        if self.breaking.get(method, 0) > 0:
            self.breaking[method] -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"ok": True, **made}, headers=headers)

    async def _args(self, request: web.Request) -> dict[str, Any]:
        args: dict[str, Any] = dict(request.query)
        if request.content_type == "application/json":
            args |= await request.json()
        else:
            args |= {name: str(value) for name, value in (await request.post()).items()}
        return {n: v for n, v in args.items() if v is not None}

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.opened += 1
        await socket.send_json({"type": "hello", "num_connections": len(self.sockets) + 1,
                                "connection_info": {"app_id": "A0APP"}})  # fmt: skip
        self.sockets.append(socket)
        self.space.note()
        self._through[socket] = set()
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                answer = json.loads(message.data)
                envelope = self.envelopes.get(answer.get("envelope_id", ""))
                if envelope is not None and not envelope.answer.done():
                    envelope.answer.set_result(answer.get("payload") or {})
        finally:
            self.sockets.remove(socket)
            for name in self._through.pop(socket, ()):
                if not self.envelopes[name].answer.done():
                    self.envelopes[name].answer.set_result(None)
            self.space.note()
        return socket

    async def deliver(self, payload: Mapping[str, Any], kind: str = "events_api") -> Any:
        """Through one of the sockets; the acknowledgement's payload, or None for none at all."""
        envelope = Envelope(kind, payload, next(self.space.numbers))
        return await self.deliver_again(envelope)

    async def deliver_again(self, envelope: Envelope) -> Any:
        self.envelopes[envelope.id] = envelope
        envelope.attempt += 1
        envelope.answer = asyncio.get_running_loop().create_future()
        await self.space.until(lambda: self.sockets)
        self._turn += 1
        socket = self.sockets[self._turn % len(self.sockets)]
        self._through[socket].add(envelope.id)
        await socket.send_str(envelope.frame())
        try:
            async with asyncio.timeout(ACK_SECONDS):
                return await envelope.answer
        except TimeoutError:
            return None

    async def refresh(self, reason: str = "refresh_requested") -> None:
        """Slack is about to close every connection and asks for new ones."""
        for socket in list(self.sockets):
            await socket.send_json({"type": "disconnect", "reason": reason,
                                    "debug_info": {"host": "applink"}})  # fmt: skip

    async def post_signed(
        self, url: str, payload: Mapping[str, Any], *, form: bool = False, secret: str = SECRET,
        at: float | None = None,
    ) -> tuple[int, str]:  # fmt: skip
        """(status, body) of an event, an interaction or (`form`) what Slack sends as a form."""
        body = json.dumps(payload)
        if form:
            fields = payload if "command" in payload else {"payload": body}
            body = urlencode(fields)
        stamp = str(int(at or time.time()))
        base = f"v0:{stamp}:{body}".encode()
        mark = "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": mark,
                   "Content-Type": kind}  # fmt: skip
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data=body, headers=headers) as answer:
                return answer.status, await answer.text()

    async def _upload(self, request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        self.space.bytes[request.match_info["file"]] = await request.read()
        return web.Response(text="OK")

    async def _download(self, request: web.Request) -> web.StreamResponse:
        self.asked_files.append((request.path, request.headers.get("Authorization", "")))
        if self.file_answer is not None:
            return self.file_answer
        if request.headers.get("Authorization") != f"Bearer {BOT_TOKEN}":
            return web.Response(text="<html>sign in</html>", content_type="text/html")
        file = self.space.files[request.match_info["file"]]
        if self.cutting_files:
            answer = web.StreamResponse(headers={"Content-Length": str(file["size"])})
            await answer.prepare(request)
            await answer.write(self.space.bytes[file["id"]][: file["size"] // 2])
            assert request.transport is not None
            request.transport.close()
            return answer
        return web.Response(body=self.space.bytes[file["id"]], content_type=file["mimetype"])

    async def _respond(self, request: web.Request) -> web.Response:
        self.calls.append(("response_url", await request.json()))
        self.space.note()
        return web.Response(text="ok")
