"""The web admin as one running thing: everything wired, started and stopped in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from aiohttp import web
from argon2 import PasswordHasher

from bridge.contract import AUDIENCE as BRIDGE_AUDIENCE
from web_admin.calls.agent import AUDIENCE as AGENT_AUDIENCE
from web_admin.calls.agent import Agent
from web_admin.calls.bridge import Bridge
from web_admin.calls.signed import Caller
from web_admin.entry.address import Ranges
from web_admin.entry.gate import Gate
from web_admin.entry.public import PublicUrl
from web_admin.entry.routes import FORM_LIMIT, Page
from web_admin.pages.desk import Desk
from web_admin.pages.every import every
from web_admin.render import Render
from web_admin.settings import AdminSettings, SettingsInvalid, read_keys
from web_admin.store.accounts import Accounts
from web_admin.store.database import Database

log = structlog.get_logger()


class WebAdmin:
    """One web admin process. `await start()`, then `await stop()`; or `await run()` for both."""

    def __init__(
        self,
        settings: AdminSettings,
        *,
        clock: Callable[[], float] = time.time,
        hasher: PasswordHasher | None = None,
    ) -> None:
        """Raises `SettingsInvalid`; opens nothing."""
        if settings.listen is None:
            raise SettingsInvalid("ADMIN_LISTEN: is off, so there is nothing to run.")
        keys = read_keys(settings.signing_keys_file, "ADMIN_SIGNING_KEYS_FILE")
        link_keys = read_keys(settings.link_keys_file, "ADMIN_LINK_KEYS_FILE")
        self.settings = settings
        self.public = PublicUrl.parse(settings.public_url)
        self.database = Database(settings.database)
        self._callers = (
            Caller("agent service", settings.agent_socket, AGENT_AUDIENCE, keys, clock),
            Caller("bridge", settings.bridge_socket, BRIDGE_AUDIENCE, keys, clock),
        )
        agent, bridge = Agent(self._callers[0]), Bridge(self._callers[1])
        render = Render(self.public)
        self._gate = Gate(
            self.database,
            bridge,
            render,
            self.public,
            Ranges.parse(settings.trusted_proxies),
            idle_seconds=settings.admin_idle_hours * 3600,
            clock=clock,
        )
        self.accounts = Accounts(self.database, hasher)
        desk = Desk(
            settings,
            self.public,
            self.database,
            self.accounts,
            agent,
            bridge,
            render,
            self._gate.cookies,
            link_keys,
            clock,
        )
        self.pages: list[Page] = every(desk)
        self._runner: web.AppRunner | None = None
        self._over = asyncio.Event()
        self.address: tuple[str, int] | None = None
        """Where it is served, once started."""

    async def start(self) -> None:
        """Everything up. Raises `SettingsInvalid` or `StoreError`, with nothing left running."""
        await self.database.open()
        try:
            await self._listen()
        except BaseException:
            await self.stop()
            raise
        if odd := self.settings.reached_elsewhere():
            log.warning("public url", problem=odd)
        log.info("web admin started", url=str(self.public))

    def application(self) -> web.Application:
        """The pages behind the gate."""
        app = web.Application(middlewares=[self._gate.middleware()], client_max_size=FORM_LIMIT)
        self._gate.know(self.pages)
        for page in self.pages:
            app.router.add_route(page.method, f"{self.public.base}{page.path}", page.handler)
        if self.public.base:
            app.router.add_get(self.public.base, self._with_slash)
        app.router.add_get("/healthz", self._healthz)
        app.on_response_prepare.append(self._gate.prepare)
        return app

    async def _with_slash(self, _request: web.Request) -> web.StreamResponse:
        raise web.HTTPSeeOther(f"{self.public.base}/")

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        """The process lives and has its database. It tells nothing else."""
        await self.database.tx(lambda db: db.exec_driver_sql("SELECT 1").scalar())
        return web.json_response({"status": "ok"})

    async def _listen(self) -> None:
        where = self.settings.listen
        assert where is not None  # noqa: S101 - looked at in __init__
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, *where).start()
        except OSError as error:
            raise SettingsInvalid(
                f"ADMIN_LISTEN: {self.settings.admin_listen} cannot be used ({error.strerror}); "
                "choose another host:port, or off."
            ) from None
        host, port = self._runner.addresses[0][:2]
        self.address = (str(host), int(port))

    async def stop(self) -> None:
        """Harmless to repeat."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for caller in self._callers:
            await caller.close()
        await self.database.close()
        self._over.set()

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Start, serve until `finish` is called, stop. `started` is called once it is up."""
        await self.start()
        started()
        try:
            await self._over.wait()
        finally:
            await self.stop()

    def finish(self) -> None:
        """Let `run` stop and return."""
        self._over.set()
