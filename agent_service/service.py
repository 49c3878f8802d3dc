"""The agent service as a whole: everything wired, started and stopped in order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from aiohttp import web

from agent_service.broker.broker import Answered, Broker
from agent_service.broker.ledger import Ledger
from agent_service.broker.prices import PricesInvalid
from agent_service.broker.purses import Purses
from agent_service.broker.tokens import Grant, SessionToken
from agent_service.claude.options import bundled_cli
from agent_service.claude.sessions import ClaudeSessions
from agent_service.claude.wiring import make_broker, make_sessions
from agent_service.contract.policy import Ceiling
from agent_service.contract.signing import Verifier
from agent_service.credentials.boxed import BoxedCli
from agent_service.credentials.keyring import Keyring
from agent_service.credentials.login import ClaudeLogin, Cli, PlainCli
from agent_service.credentials.probe import ModelProbe
from agent_service.credentials.revoke import Revoker
from agent_service.credentials.sign_in import SignIns
from agent_service.credentials.vault import Vault
from agent_service.egress.exits import Exits
from agent_service.egress.hosts import Hosts
from agent_service.egress.journal import Journal
from agent_service.egress.proxy import Attempt, Network
from agent_service.http.app import AUDIENCE, make_app
from agent_service.http.credentials import CredentialHandlers
from agent_service.http.routes import ADMIN, BRIDGE
from agent_service.metrics import Metrics
from agent_service.policy.policies import Policies
from agent_service.sandbox import memory
from agent_service.sandbox.launch import LaunchImpossible
from agent_service.sandbox.probe import SandboxImpossible
from agent_service.settings import AgentSettings, listed, read_keys
from agent_service.store.database import Database
from agent_service.turns.asking import Asking
from agent_service.turns.driver import TurnDriver
from agent_service.turns.ends import Ends
from agent_service.turns.interruptions import Interruptions
from agent_service.turns.openings import Openings
from agent_service.turns.pool import SessionPool
from agent_service.turns.port import SessionFactory
from agent_service.turns.runner import TurnRunner
from agent_service.turns.stops import Stops
from agent_service.workspaces.directory import Workspaces

_log = structlog.get_logger(__name__)

SOCKET_PATH_LIMIT = 107
"""Bytes of a Unix socket's path on Linux."""


PROBE_MODEL = "claude-haiku-5-5"
"""What a key is tested with, where no model is set."""


class StartFailed(Exception):
    """The service cannot serve. `remedy` says what an operator should do."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class AgentService:
    """One agent service. `start`, then `stop`; a stopped one is not started again."""

    def __init__(
        self,
        settings: AgentSettings,
        sessions: Callable[[Broker], SessionFactory] | None = None,
        network: Network | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`sessions` replaces the real CLI; the scripted service uses it. `network` replaces the
        world that agents may reach, `clock` the time by which decisions expire and the periods of
        budgets are."""
        self._clock = clock
        self._settings = settings
        self._network = network or Network()
        self._sessions = sessions
        self._database = Database(settings.database)
        self._ready = False
        self._app_runner: web.AppRunner | None = None
        self._runner: TurnRunner | None = None
        self._broker: Broker | None = None
        self._ledger: Ledger | None = None
        self._journal: Journal | None = None
        self._revoker: Revoker | None = None
        self._sign_ins: SignIns | None = None
        self._boxed: BoxedCli | None = None

    async def start(self) -> None:
        """Serve on the socket. Raises `StartFailed`, `SettingsInvalid` or `StoreError`."""
        settings = self._settings
        if settings.agent_personal_sign_in and settings.agent_sandbox == "off":
            raise StartFailed(
                "AGENT_PERSONAL_SIGN_IN needs the sandbox, and AGENT_SANDBOX is off.",
                remedy="Without it, nothing keeps a person's sign-in from others. Turn one of the "
                "two settings back.",
            )
        keys = {
            BRIDGE: read_keys(settings.bridge_keys_file),
            ADMIN: read_keys(settings.admin_keys_file),
        }
        sealed_with = settings.encryption_keys()
        await self._database.open()
        self._make_run_folder()
        keyring = Keyring(
            self._database,
            Vault(sealed_with),
            url=settings.agent_upstream_url,
            secret=settings.agent_api_key.get_secret_value(),
        )
        await keyring.open()
        ledger = self._ledger = Ledger(self._database, self._clock)
        purses, metrics = Purses(ledger.used, self._clock), Metrics()

        def answered(answer: Answered) -> None:
            metrics.answered(answer)
            ledger.add(answer)

        try:
            self._broker = make_broker(settings, keyring, ledger, purses, answered)
        except PricesInvalid as error:
            raise StartFailed(f"AGENT_PRICES_FILE: {error}") from None
        hosts = Hosts(self._database, listed(settings.agent_egress))
        await hosts.open()
        self._journal = Journal(self._database)
        exits = Exits(hosts, self._journal.add, self._network)
        workspaces = Workspaces(settings.home / "workspaces")
        pool = SessionPool(
            self._sessions(self._broker)
            if self._sessions is not None
            else self._claude(workspaces, self._broker, exits, keyring, answered),
            budget=memory.budget(settings.agent_sessions_mib),
            idle_seconds=settings.agent_idle_minutes * 60,
        )
        metrics.watch(pool)
        self._sign_ins = await self._personal(keyring, self._journal)
        policies = Policies(
            self._database,
            default_mode=settings.agent_mode,
            ceiling=self._ceiling(),
        )
        openings = Openings(
            self._database,
            pool,
            workspaces,
            policies,
            default_model=settings.agent_model,
            sign_in_of=self._sign_ins.of,
            may_begin=keyring.may_begin,
        )
        ends, patience = Ends(metrics.ended), settings.agent_decision_hours * 3600
        interruptions = Interruptions(
            self._database, ends, decision_seconds=patience, clock=self._clock
        )
        asking = Asking(
            self._database, pool, policies, decision_seconds=patience, clock=self._clock
        )
        driver = TurnDriver(self._database, pool, openings, ends, interruptions, asking, purses)
        # Without a sandbox nothing keeps two people apart.
        alone = self._sessions is None and settings.agent_sandbox == "off"
        self._runner = TurnRunner(
            self._database,
            pool,
            openings,
            driver,
            ends,
            interruptions,
            hosts,
            one_workspace=alone,
            clock=self._clock,
        )
        stops = Stops(self._broker, pool, self._runner)
        credentials = await self._credentials(keyring, stops, self._sign_ins)
        await self._runner.start()
        verifier = Verifier(AUDIENCE, keys)
        app = make_app(
            self._database,
            self._runner,
            policies,
            credentials,
            hosts,
            metrics,
            verifier,
            lambda: self._ready,
        )
        self._app_runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=1, handler_cancellation=True
        )
        await self._app_runner.setup()
        await web.SockSite(self._app_runner, self._listen()).start()
        self._ready = True
        _log.info("agent.ready", socket=str(settings.socket), upstream=settings.agent_upstream_url)
        if alone:
            _log.warning(
                "agent.no_sandbox",
                hint="AGENT_SANDBOX is off: whatever the agent is allowed, it does with your own "
                "rights. One person only is served.",
            )
        elif self._sessions is None and os.geteuid() == 0:
            _log.warning(
                "agent.root",
                hint="The service runs as root. Run it as an ordinary user: limits on processes "
                "do not hold for root.",
            )

    def _ceiling(self) -> Ceiling:
        """Raises `StartFailed` where bypassPermissions could not be kept in bounds."""
        settings = self._settings
        if settings.agent_mode_ceiling == "bypassPermissions" and self._sessions is None:
            if settings.agent_sandbox == "off":
                raise StartFailed(
                    "AGENT_MODE_CEILING=bypassPermissions needs the sandbox.",
                    remedy="Set AGENT_SANDBOX=required, or another ceiling.",
                )
            if os.geteuid() == 0:
                raise StartFailed(
                    "AGENT_MODE_CEILING=bypassPermissions is refused to root by the Claude CLI.",
                    remedy="Run Bascule as an ordinary user, or set another ceiling.",
                )
        return settings.agent_mode_ceiling

    def _make_run_folder(self) -> None:
        folder = self._settings.socket.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartFailed(
                f"{folder} cannot be made: {os.strerror(error.errno or 0)}.",
                remedy="Give its folder to this user, or choose another AGENT_SOCKET.",
            ) from None

    async def _personal(self, keyring: Keyring, journal: Journal) -> SignIns:
        settings = self._settings
        path, people = settings.agent_claude_cli or bundled_cli(), settings.home / "people"
        cli: Cli = PlainCli(path, {})
        if settings.agent_sandbox == "required":

            def attempted(config: Path, attempt: Attempt) -> None:
                asks = SessionToken.mint(Grant("sign-in", "", "sign-in"))
                asks.person = config.name
                journal.add(asks, attempt)

            cli = self._boxed = BoxedCli(
                settings.home,
                settings.socket.parent,
                path,
                self._network,
                attempted,
            )
            await self._boxed.open()
        return SignIns(
            self._database,
            keyring,
            ClaudeLogin(cli),
            lambda person: people / person,
            enabled=settings.agent_personal_sign_in,
        )

    async def _credentials(
        self, keyring: Keyring, stops: Stops, sign_ins: SignIns
    ) -> CredentialHandlers:
        """What was revoked stays so over a crash at any point: that is seen to before any turn."""
        self._revoker = Revoker(self._database, keyring, stops, stops, sign_ins)
        await self._revoker.resume()
        people = self._settings.home / "people"
        await sign_ins.sweep([p.name for p in people.iterdir()] if people.is_dir() else [])
        probe = ModelProbe(self._settings.agent_model or PROBE_MODEL)
        return CredentialHandlers(keyring, self._revoker, sign_ins, probe)

    def _claude(
        self,
        workspaces: Workspaces,
        broker: Broker,
        exits: Exits,
        keyring: Keyring,
        answered: Callable[[Answered], None],
    ) -> ClaudeSessions:
        try:
            return make_sessions(self._settings, workspaces, broker, exits, keyring, answered)
        except SandboxImpossible as error:
            raise StartFailed(
                f"The sandbox does not work here: {error}",
                remedy=f"{error.remedy} (For one person on their own machine only: "
                "AGENT_SANDBOX=off.)",
            ) from None
        except LaunchImpossible as error:
            raise StartFailed(str(error), remedy=error.remedy) from None
        except OSError as error:
            folder = self._settings.socket.parent
            raise StartFailed(
                f"{folder} cannot be used: {os.strerror(error.errno or 0)}.",
                remedy=f"Give {folder} to the user that runs the service.",
            ) from None

    def _listen(self) -> socket.socket:
        path = self._settings.socket
        if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
            raise StartFailed(
                f"The path of the socket is too long: {path}",
                remedy="Choose a shorter BASCULE_HOME or AGENT_SOCKET.",
            )
        # The database's lock says that no other service of this home is alive.
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(path))
            path.chmod(0o600)
        except OSError as error:
            listening.close()
            raise StartFailed(
                f"Cannot listen on {path}: {os.strerror(error.errno or 0)}.",
                remedy="Check that the folder exists and is writable for this user.",
            ) from None
        return listening

    async def stop(self) -> None:
        """End running turns as interrupted; afterwards no session process is left."""
        self._ready = False
        if self._runner is not None:
            await self._runner.stop()
        if self._app_runner is not None:
            await self._app_runner.cleanup()
            self._settings.socket.unlink(missing_ok=True)
        if self._revoker is not None:
            await self._revoker.close()
        if self._sign_ins is not None:
            await self._sign_ins.close()
        if self._boxed is not None:
            await self._boxed.close()
        if self._broker is not None:
            await self._broker.close()
        if self._ledger is not None:
            await self._ledger.close()
        if self._journal is not None:
            await self._journal.close()
        await self._database.close()

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT. `started` is called once it can run turns."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        try:
            await self.start()
            started()
            await stopping.wait()
        finally:
            await self.stop()
