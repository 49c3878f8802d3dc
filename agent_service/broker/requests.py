"""A session's requests: looked at, passed on with the credential, and counted."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from agent_service.broker.gate import TOO_MANY, error_body
from agent_service.broker.meter import BYTES_A_TOKEN, NOTHING, Meter, Tokens
from agent_service.broker.rules import Checked, Refused
from agent_service.broker.tokens import SessionToken
from agent_service.credentials.keyring import Key, NoCredential

if TYPE_CHECKING:
    from agent_service.broker.broker import Broker

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
MOST_REQUESTS = 16
"""Of one session at once."""
MOST_BYTES = 3 * LARGEST_BODY
"""Of the bodies of one session's requests, all together."""
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host"}
    | {"content-length", "proxy-authorization", "proxy-authenticate", "accept-encoding"}
)
# The CLI's own (observed). Of any others a gateway might take orders: where to send the request, or
# the key with it.
_PASSED = frozenset(
    {"accept", "accept-language", "content-type", "user-agent", "x-app", "x-client-request-id"}
)
_PASSED_PREFIXES = ("anthropic-", "x-stainless-", "x-claude-code-")
_NOT_BACK = frozenset({"set-cookie"})
REVOKED = "This session's access to the model was revoked."
UNREACHABLE = "Connection error: the model cannot be reached."


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is passed on, with whose it was at its beginning: the next turn may have
    begun when its answer is over."""

    token: SessionToken
    turn: str
    person: str
    key: Key
    body: bytes
    model: str
    streams: bool
    counts: bool
    """Whether its answer costs anything."""
    most: int
    """Tokens that its answer may have."""


class Handler:
    """Answers the requests of one session."""

    def __init__(self, broker: Broker, token: SessionToken) -> None:
        self._broker = broker
        self._token = token
        self._requests = 0
        self._bytes = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        if request.method == "HEAD" or request.path == "/api/hello":
            return web.json_response({"message": "hello"})
        length = request.content_length
        size = (
            LARGEST_BODY
            if length is None and request.can_read_body
            else min(length or 0, LARGEST_BODY)
        )
        if self._requests >= MOST_REQUESTS or self._bytes + size > MOST_BYTES:
            return self._refused(429, "rate_limit_error", TOO_MANY)
        self._requests += 1
        self._bytes += size
        try:
            if request.method != "POST":
                return await self._asked(request, b"", Checked("", 0, streams=False), counts=False)
            return await self._posted(request)
        finally:
            self._requests -= 1
            self._bytes -= size

    async def _posted(self, request: web.Request) -> web.StreamResponse:
        counting = request.path.endswith("/count_tokens")
        try:
            body = await request.read()
            checked = await self._broker.check(body, counting=counting)
        except Refused as error:
            return self._refused(400, "invalid_request_error", str(error))
        except web.HTTPRequestEntityTooLarge:
            return self._refused(413, "request_too_large", "The request is too large.")
        if counting:
            return await self._asked(request, body, checked, counts=False)
        bill, most = await self._broker.bill(self._token), self._broker.most_usd(checked, len(body))
        if refusal := await bill.begin(most):
            return self._refused(403, "permission_error", refusal)
        try:
            return await self._asked(request, body, checked, counts=True)
        finally:
            bill.end(most)

    async def _asked(
        self, request: web.Request, body: bytes, checked: Checked, *, counts: bool
    ) -> web.StreamResponse:
        token = self._token
        if token.void:  # since it was looked at first
            return self._refused(403, "permission_error", REVOKED)
        try:
            key = self._broker.choose(token.person)
        except NoCredential as error:
            return self._refused(403, "permission_error", f"{REVOKED} {error} {error.remedy}")
        token.credential = key.credential
        streams = checked.streams and counts
        asked = Asked(
            token, token.turn, token.person, key, body, checked.model, streams, counts,
            checked.max_tokens,
        )  # fmt: skip
        try:
            return await self._passed_on(request, asked)
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
        return None

    def _refused(self, status: int, kind: str, message: str) -> web.Response:
        _log.warning(
            "request.refused", session=self._token.grant.session, status=status, reason=message
        )
        return _error(status, kind, message)

    async def _passed_on(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() in _PASSED or name.lower().startswith(_PASSED_PREFIXES)
        }
        headers["x-api-key"] = asked.key.secret
        headers["Accept-Encoding"] = "identity"  # the tokens are read on the way back
        # Put together from the path that was allowed: a raw one may be a whole URL of elsewhere.
        query = request.rel_url.raw_query_string
        target = asked.key.url.rstrip("/") + request.path + (f"?{query}" if query else "")
        meter: Meter | None = None
        whole = counted = refused = False
        received = 0
        try:
            async with self._broker.client().request(
                request.method,
                URL(target, encoded=True),
                data=io.BytesIO(asked.body) if asked.body else None,
                headers=headers,
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(status=answer.status, reason=answer.reason)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP_BY_HOP | _NOT_BACK:
                        response.headers.add(name, value)
                whole = refused = answer.status != 200  # an error costs nothing
                meter = Meter(streams=asked.streams and not whole)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    meter.feed(chunk)
                    received += len(chunk)
                    ends = meter.over or received == answer.content_length
                    if ends and asked.counts and not counted:
                        # Before the session has it: how its turn ends must be told with this.
                        whole = counted = True
                        self._count(asked, meter, whole=True, refused=refused)
                    if self._token.void:
                        response.force_close()
                        return response
                    await response.write(chunk)
                whole = True
                await response.write_eof()
                return response
        except aiohttp.ClientConnectionError:
            whole = meter is None  # nobody hung up on the model: it never answered
            raise
        finally:
            if asked.counts and not counted:
                self._count(asked, meter, whole=whole, refused=refused)

    def _count(self, asked: Asked, meter: Meter | None, *, whole: bool, refused: bool) -> None:
        """Account for an answer; for one that was cut off, what is known of it at least, and for
        one that says nothing of what it used, what it may have used."""
        tokens, model = NOTHING, ""
        if meter is not None:
            meter.close(cut=not whole)
            tokens, model = meter.tokens, meter.model
        if tokens == NOTHING and not whole:
            # Whoever hangs up early was read all the same.
            tokens = Tokens(input=len(asked.body) // BYTES_A_TOKEN)
        elif tokens == NOTHING and meter is not None and not refused:
            said = meter.said if asked.streams else asked.most
            tokens = Tokens(input=len(asked.body) // BYTES_A_TOKEN, output=said)
            self._broker.unmetered(asked.key.credential)
        if tokens != NOTHING:
            self._broker.account(
                asked.token,
                asked.turn,
                asked.person,
                asked.key.credential,
                model or asked.model,
                tokens,
            )


def _error(status: int, kind: str, message: str) -> web.Response:
    # Without the header the CLI would try again for minutes.
    headers = {} if status >= 500 else {"x-should-retry": "false"}
    if status == 429:
        headers = {"retry-after": "1"}
    return web.json_response(error_body(kind, message), status=status, headers=headers)
