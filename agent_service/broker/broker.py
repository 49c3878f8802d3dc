"""The broker: the only way from a session to the model, and the only holder of the credential.

Each session has a Unix socket of its own, and only its own token is good there. Bodies and streams
pass unchanged; the token is replaced by the credential.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from agent_service.broker.meter import Meter, Tokens
from agent_service.broker.prices import PriceTable
from agent_service.broker.rules import Refused, Rules
from agent_service.broker.tokens import Grant, SessionToken
from agent_service.credentials.keyring import Key, NoCredential

_log = structlog.get_logger(__name__)

ALLOWED = {
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
    ("HEAD", "/"),
    ("GET", "/api/hello"),
    ("HEAD", "/api/hello"),
}
LARGEST_BODY = 32 * 1024 * 1024
"""Bytes of a request; the API takes no more."""
SILENT_SECONDS = 600
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host"}
    | {"content-length", "proxy-authorization", "proxy-authenticate", "accept-encoding"}
)
_OURS = frozenset({"authorization", "x-api-key", "cookie", "forwarded", "x-forwarded-for"})
_NOT_BACK = frozenset({"set-cookie"})
REVOKED = "This session's access to the model was revoked."
USED_UP = "The budget of this session is used up."
UNREACHABLE = "Connection error: the model cannot be reached."


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of the model, as it is accounted for."""

    grant: Grant
    turn: str
    person: str
    credential: str
    model: str
    tokens: Tokens
    cost_usd: float


class Gate:
    """One session's way to the model. `token` is for its environment.

    It listens on `socket`, which a sandbox shows its session; where there is no sandbox, on
    loopback at `url`.
    """

    def __init__(self, token: SessionToken, runner: web.AppRunner, socket: Path | None) -> None:
        self.token = token
        self.socket = socket
        self.url = ""
        self._runner = runner

    async def open(self) -> None:
        """Listen."""
        await self._runner.setup()
        if self.socket is None:
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
            self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])
            return
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()
        self.socket.chmod(0o600)

    async def close(self) -> None:
        """Void the token and stop listening; what is being answered is broken off. Safe to
        repeat."""
        self.token.void = True
        await self._runner.cleanup()
        if self.socket is not None:
            self.socket.unlink(missing_ok=True)


class Broker:
    """Opens gates. `answered` is called after each answer; what it raises is logged."""

    def __init__(
        self,
        choose: Callable[[str], Key],
        rules: Rules,
        prices: PriceTable,
        answered: Callable[[Answered], None],
    ) -> None:
        """`choose` gives what a person's request uses, or raises `NoCredential`. It is asked for
        each request, so that what was revoked is not used again."""
        self._choose = choose
        self._rules = rules
        self._prices = prices
        self._answered = answered
        self._gates: set[Gate] = set()
        self._http: aiohttp.ClientSession | None = None

    async def open(self, grant: Grant, socket: Path | None) -> Gate:
        """A gate for a new session, with a new token; on loopback where `socket` is None."""
        token = SessionToken.mint(grant)
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", _Handler(self, token).handle)
        # A CLI that hangs up must not leave a request that costs money.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05
        )
        gate = Gate(token, runner, socket)
        await gate.open()
        self._gates.add(gate)
        return gate

    async def shut(self, gate: Gate) -> None:
        """Close a gate. Safe to repeat."""
        self._gates.discard(gate)
        await gate.close()

    def tokens(self) -> list[SessionToken]:
        """Those of all open gates, void ones included."""
        return [gate.token for gate in self._gates]

    async def close(self) -> None:
        """Close every gate and the connections to the model."""
        await asyncio.gather(*(gate.close() for gate in self._gates))
        self._gates.clear()
        if self._http is not None:
            await self._http.close()

    # ---- for its handlers ----

    @property
    def rules(self) -> Rules:
        return self._rules

    def choose(self, person: str) -> Key:
        return self._choose(person)

    def client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, connect=30, sock_read=SILENT_SECONDS),
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._http

    def account(self, token: SessionToken, model: str, tokens: Tokens) -> None:
        cost = self._prices.cost(model, tokens)
        token.spent_usd += cost
        try:
            self._answered(
                Answered(
                    token.grant, token.turn, token.person, token.credential, model, tokens, cost
                )
            )
        except Exception:  # noqa: BLE001 - the answer is on its way; accounting must not break it
            _log.exception("usage.not_stored", session=token.grant.session)


class _Handler:
    """Requests of one session."""

    def __init__(self, broker: Broker, token: SessionToken) -> None:
        self._broker = broker
        self._token = token

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        if request.method == "HEAD" or request.path == "/api/hello":
            return web.json_response({"message": "hello"})
        body, model, streams = b"", "", False
        if request.method == "POST":
            try:
                body = await request.read()
                counting = request.path.endswith("/count_tokens")
                checked = self._broker.rules.check(body, counting=counting)
            except Refused as error:
                return self._refused(400, "invalid_request_error", str(error))
            except web.HTTPRequestEntityTooLarge:
                return self._refused(413, "request_too_large", "The request is too large.")
            model, streams = checked.model, checked.streams and not counting
        try:
            key = self._broker.choose(self._token.person)
        except NoCredential as error:
            return self._refused(403, "permission_error", f"{REVOKED} {error} {error.remedy}")
        self._token.credential = key.credential
        try:
            return await self._passed_on(request, key, body, model, streams)
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            _log.warning("upstream.unreachable", reason=f"{type(error).__name__}: {error}")
            return _error(502, "api_error", UNREACHABLE)

    def _refusal(self, request: web.Request) -> web.Response | None:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = request.headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
        if (request.method, request.path) not in ALLOWED:
            return self._refused(404, "not_found_error", "There is no such way to the model here.")
        if request.path in ("/", "/api/hello"):
            return None
        if self._token.void or not self._token.is_mine(given):
            return self._refused(403, "permission_error", REVOKED)
        if self._token.used_up:
            return self._refused(403, "permission_error", USED_UP)
        return None

    def _refused(self, status: int, kind: str, message: str) -> web.Response:
        _log.warning(
            "request.refused", session=self._token.grant.session, status=status, reason=message
        )
        return _error(status, kind, message)

    async def _passed_on(
        self, request: web.Request, key: Key, body: bytes, model: str, streams: bool
    ) -> web.StreamResponse:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _HOP_BY_HOP | _OURS
        }
        headers["x-api-key"] = key.secret
        headers["Accept-Encoding"] = "identity"  # the tokens are read on the way back
        # Put together from the path that was allowed: a raw one may be a whole URL of elsewhere.
        query = request.rel_url.raw_query_string
        target = key.url.rstrip("/") + request.path + (f"?{query}" if query else "")
        async with self._broker.client().request(
            request.method,
            URL(target, encoded=True),
            data=io.BytesIO(body) if body else None,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in _HOP_BY_HOP | _NOT_BACK:
                    response.headers.add(name, value)
            meter = Meter(streams=streams and answer.status == 200)
            try:
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    meter.feed(chunk)
                    if self._token.void:
                        response.force_close()
                        return response
                    await response.write(chunk)
                await response.write_eof()
            finally:
                meter.close()
                if model and meter.tokens != Tokens() and not request.path.endswith("tokens"):
                    self._broker.account(self._token, meter.model or model, meter.tokens)
        return response


def _error(status: int, kind: str, message: str) -> web.Response:
    # Without the header the CLI would try again for minutes.
    retry = {} if status >= 500 else {"x-should-retry": "false"}
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return web.json_response(body, status=status, headers=retry)
