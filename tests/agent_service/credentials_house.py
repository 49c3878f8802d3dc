"""The parts of credentials put together, with small real tokens and sessions."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from agent_service.claude.options import bundled_cli
from agent_service.contract.signing import Signer, Verifier
from agent_service.credentials.keyring import Keyring
from agent_service.credentials.login import ClaudeLogin, PlainCli
from agent_service.credentials.probe import ModelProbe
from agent_service.credentials.revoke import Revoker
from agent_service.credentials.scope import Scope
from agent_service.credentials.sign_in import SignIns
from agent_service.credentials.vault import Vault
from agent_service.http.audit import AuditHandlers
from agent_service.http.credentials import CredentialHandlers
from agent_service.http.guard import Guard
from agent_service.store.audit import AuditLog
from agent_service.store.database import Database
from agent_service.workspaces.directory import Workspaces

OLD_KEY, NEW_KEY = "old-" + "k" * 40, "new-" + "k" * 40
DEFAULT_SECRET = "CANARY-environment-0001"


class Held:
    """Sessions that are real processes, and their tokens."""

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[str, str]] = {}
        self.sessions: dict[asyncio.subprocess.Process, tuple[str, str]] = {}
        self.hang = False
        self.fail = False
        self.last_words: Callable[[], Awaitable[None]] | None = None

    async def begin(self, credential: str, person: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec("sleep", "600")
        self.sessions[process] = (credential, person)
        self.tokens[secrets.token_hex(8)] = (credential, person)
        return process

    def void(self, scope: Scope) -> int:
        mine = [t for t, (c, p) in self.tokens.items() if scope.covers(credential=c, person=p)]
        for token in mine:
            del self.tokens[token]
        return len(mine)

    async def stop(self, scope: Scope) -> int:
        if self.hang:
            await asyncio.sleep(3600)
        if self.last_words is not None:
            await self.last_words()
        if self.fail:
            raise RuntimeError("the session of CANARY did not end: sk-ant-api03-CANARYsession")
        mine = [s for s, (c, p) in self.sessions.items() if scope.covers(credential=c, person=p)]
        for process in mine:
            process.kill()
            await process.wait()
            del self.sessions[process]
        return len(mine)

    async def close(self) -> None:
        self.hang = self.fail = False
        self.last_words = None
        await self.stop(Scope("everything"))


class House:
    """One start of the parts on a home. `held` outlives a start only where a test wants that."""

    def __init__(
        self,
        home: Path,
        *,
        keys: tuple[str, ...] = (OLD_KEY,),
        url: str = "http://127.0.0.1:9",
        secret: str = DEFAULT_SECRET,
        cli: Path | None = None,
        environment: Mapping[str, str] | None = None,
        enabled: bool = True,
        **how: Any,
    ) -> None:
        self.home = home
        self.path = home / "agent" / "agent.db"
        self.held = Held()
        self.database = Database(self.path)
        self.audit = AuditLog(self.database)
        self.keyring = Keyring(self.database, Vault(keys), url=url, secret=secret)
        after: Callable[[str], None] = how.pop("after", lambda _step: None)
        session_seconds = how.pop("session_seconds", 10)
        kind: type[SignIns] = how.pop("sign_ins", SignIns)
        self.login = ClaudeLogin(PlainCli(cli or bundled_cli(), environment or {}))
        self.sign_ins = kind(
            self.database, self.keyring, self.login, self.config, enabled=enabled, **how
        )
        self.revoker = Revoker(
            self.database, self.keyring, self.held, self.held, self.sign_ins,
            after=after, session_seconds=session_seconds,
        )  # fmt: skip

    def config(self, person: str) -> Path:
        return self.home / "people" / person

    async def __aenter__(self) -> House:
        await self.database.open()
        await self.keyring.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.revoker.close()
        await self.sign_ins.close()
        await self.held.close()
        await self.database.close()

    async def signed_out(self) -> None:
        """Wait for the sign-outs that a revocation left under way."""
        async with asyncio.timeout(60):
            while any(step.state == "open" for v in await self.revoker.views() for step in v.steps):
                await asyncio.sleep(0.02)

    def stored_bytes(self) -> bytes:
        """The database as it lies on disk, its log included."""
        return b"".join(p.read_bytes() for p in self.path.parent.iterdir() if p.is_file())


class Door:
    """The routes over real HTTP, with a caller for each kind."""

    def __init__(self, house: House, model: str = "claude-haiku-5-5") -> None:
        handlers = CredentialHandlers(
            house.keyring, house.revoker, house.sign_ins, ModelProbe(model)
        )
        self.routes = [*handlers.routes(), *AuditHandlers(house.audit).routes()]
        keys = {caller: [secrets.token_urlsafe(48)] for caller in ("bridge", "admin")}
        self._workspaces = Workspaces(house.home / "workspaces")
        verifier = Verifier("agent:main", keys)
        guard = Guard(verifier, house.database, self.routes, self._workspaces.uploads)
        app = web.Application(middlewares=[guard.middleware()])
        for route in self.routes:
            app.router.add_route(route.method, route.path, route.handler)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._signers = {c: Signer(c, "agent:main", k) for c, k in keys.items()}

    async def __aenter__(self) -> Door:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        self._http = aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        await self._runner.cleanup()
        self._workspaces.threads.close()

    async def call(
        self, method: str, path: str, body: Any = None, *, caller: str = "admin"
    ) -> tuple[int, Any]:
        raw = b"" if body is None else json.dumps(body).encode()
        signed = self._signers[caller].header(method, path, raw, now=time.time())
        async with self._http.request(
            method, path, data=raw or None, headers={"Authorization": signed}
        ) as answer:
            return answer.status, await answer.json()
