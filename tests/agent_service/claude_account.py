"""A stand-in of Anthropic's sign-in, for the real CLI's `auth` commands.

The CLI is pointed at it by `HTTPS_PROXY` and `NODE_EXTRA_CA_CERTS` alone: every host it connects to
is this server, with a certificate of this server's own authority.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent_service.egress.proxy import Network

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PUBLIC = "192.0.2.1"
"""What every name resolves to."""
HOSTS = ("*.anthropic.com", "*.claude.com", "claude.ai", "*.claude.ai")
EMAIL = "ann@example.test"
# A code is good unless it is one of these; one that begins with this comes from the Console.
BAD, SLOW, CONSOLE = "bad", "slow", "console"


@dataclass(frozen=True)
class Seen:
    method: str
    host: str
    path: str
    body: str
    bearer: str


class ClaudeAccount:
    """The server; an async context manager. `folder` is for its certificates.

    `model` is where requests to the Messages API go on to, with what token they came.
    """

    def __init__(self, folder: Path, model: str = "") -> None:
        self.authority = folder / "authority.pem"
        self.requests: list[Seen] = []
        self.connected: list[str] = []
        self.tokens: set[str] = set()
        """Access tokens that are good now."""
        self.issued: list[str] = []
        """Every secret that was ever given out."""
        self.logout_hangs = False
        self.expires_in = 28800
        """Seconds for which a token is said to be good."""
        self._pairs: dict[str, str] = {}
        self._folder = folder
        self._model = model
        self._tasks: set[asyncio.Task[Any]] = set()

    def environment(self) -> dict[str, str]:
        """What leads a CLI here."""
        return {"HTTPS_PROXY": self.proxy, "NODE_EXTRA_CA_CERTS": str(self.authority)}

    def network(self) -> Network:
        """The world in which every name leads here, for a service whose CLIs are in boxes."""

        async def resolve(host: str, port: int) -> list[str]:
            self.connected.append(f"{host}:{port}")
            return [PUBLIC]

        async def connect(_address: str, _port: int) -> Streams:
            return await asyncio.open_connection("127.0.0.1", self.port)

        return Network(
            resolve,
            lambda address: address == PUBLIC,
            {"NODE_EXTRA_CA_CERTS": str(self.authority)},
            connect,
            (self.authority,),
        )

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._certificate()).start()
        self.port = self._runner.addresses[0][1]
        self._proxy = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.proxy = f"http://127.0.0.1:{self._proxy.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._proxy.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()

    def revoke_all(self) -> None:
        """As if the person had revoked it in their account's settings."""
        self.tokens.clear()
        self._pairs.clear()

    def revoke(self, token: str) -> None:
        """The same for one access token, and what renews it."""
        self.tokens.discard(token)
        for refresh in [r for r, access in self._pairs.items() if access == token]:
            del self._pairs[refresh]

    # ---- the way to it ----

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._tunnel(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"CONNECT "), head
            self.connected.append(head.split()[1].decode())
            far, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                await asyncio.gather(_pass(reader, far_writer), _pass(far, writer))
            finally:
                far_writer.transport.abort()
        writer.transport.abort()

    def _certificate(self) -> ssl.SSLContext:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)

        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        def builder(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
            made = x509.CertificateBuilder(named("test authority"), named(subject))
            made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
            return made.not_valid_before(now - day).not_valid_after(now + day)

        root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        authority = (
            builder("test authority", root)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(root, hashes.SHA256())
        )
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
        server = builder("account", leaf).add_extension(names, critical=False)
        pem = serialization.Encoding.PEM
        self.authority.write_bytes(authority.public_bytes(pem))
        both = self._folder / "server.pem"
        both.write_bytes(
            leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + server.sign(root, hashes.SHA256()).public_bytes(pem)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context

    # ---- what it answers ----

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode()
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.requests.append(Seen(request.method, request.host, request.path, body, bearer))
        match request.path:
            case "/v1/oauth/token":
                return await self._token(json.loads(body))
            case "/v1/oauth/token/revoke":
                return await self._revoke(json.loads(body))
            case "/api/oauth/profile" if bearer in self.tokens:
                return web.json_response(_PROFILE)
            case "/api/oauth/claude_cli/roles" if bearer in self.tokens:
                return web.json_response({"organization_role": "admin", "workspace_role": None})
            case "/api/oauth/claude_cli/create_api_key" if bearer in self.tokens:
                return web.json_response({"raw_key": self._issue("sk-ant-api03-")})
            case "/v1/messages":
                return await self._messages(request, body, bearer)
        return _refused(401, "authentication_error", "The token was revoked or never issued.")

    def _issue(self, prefix: str) -> str:
        made = f"{prefix}CANARY{secrets.token_hex(40)}AA"
        self.issued.append(made)
        return made

    async def _token(self, asked: dict[str, Any]) -> web.Response:
        code = str(asked.get("code", ""))
        if code == SLOW:
            await asyncio.sleep(3600)
        refreshes = asked.get("grant_type") == "refresh_token"
        if code == BAD or (refreshes and asked["refresh_token"] not in self._pairs):
            return web.json_response(
                {"error": "invalid_grant", "error_description": "Invalid 'code' in request."},
                status=400,
            )
        scope = "user:profile user:inference user:sessions:claude_code"
        if code.startswith(CONSOLE):
            scope = "org:create_api_key user:profile"
        access, refresh = self._issue("sk-ant-oat01-"), self._issue("sk-ant-ort01-")
        self.tokens.add(access)
        self._pairs[refresh] = access
        return web.json_response(
            {
                "token_type": "Bearer",
                "access_token": access,
                "refresh_token": refresh,
                "expires_in": self.expires_in,
                "scope": scope,
                "account": {"uuid": _ACCOUNT, "email_address": EMAIL},
                "organization": {"uuid": _ORGANISATION, "name": "Example"},
            }
        )

    async def _revoke(self, asked: dict[str, Any]) -> web.Response:
        if self.logout_hangs:
            await asyncio.sleep(3600)
        self.tokens.discard(self._pairs.pop(asked["token"], ""))
        # Without an id of this form the CLI does not believe that the provider did it.
        return web.json_response({}, headers={"request-id": "req_" + secrets.token_hex(12)})

    async def _messages(self, request: web.Request, body: str, bearer: str) -> web.StreamResponse:
        key = request.headers.get("x-api-key", "")
        if bearer not in self.tokens and key not in self.issued:
            return _refused(401, "authentication_error", "OAuth token has been revoked.")
        async with (
            aiohttp.ClientSession() as http,
            http.post(
                self._model + request.path_qs,
                data=body.encode(),
                headers={"x-api-key": "any", "Content-Type": "application/json"},
            ) as answer,
        ):
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            return response


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


def _refused(status: int, kind: str, message: str) -> web.Response:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return web.json_response(body, status=status)


_ACCOUNT = "11111111-1111-4111-8111-111111111111"
_ORGANISATION = "22222222-2222-4222-8222-222222222222"
_PROFILE = {
    "account": {
        "uuid": _ACCOUNT,
        "email": EMAIL,
        "full_name": "Ann",
        "display_name": "Ann",
        "has_claude_max": True,
        "has_claude_pro": False,
        "created_at": "2025-01-01T00:00:00Z",
    },
    "organization": {
        "uuid": _ORGANISATION,
        "name": "Example",
        "organization_type": "claude_max",
        "rate_limit_tier": "default_claude_max_20x",
        "has_extra_usage_enabled": False,
        "billing_type": "stripe_subscription",
    },
}
