"""The bridge as one running thing: everything wired, started and stopped in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

import structlog
from aiohttp import web

from adapters.contract import Adapter, DeliveryError, Plugin, Serves, SetupInvalid
from agent_service.contract import WARN_SHARE
from bridge import plugins
from bridge.agent_client import AgentClient
from bridge.agent_files import AgentFiles
from bridge.budgets.amounts import share
from bridge.budgets.budgets import Budgets, Rules
from bridge.budgets.warning import Warnings
from bridge.engine.attaching import Attaching, FileLimits
from bridge.engine.clicks import Clicks
from bridge.engine.deciding import Deciding
from bridge.engine.feed import Feed
from bridge.engine.inbox import Inbox
from bridge.engine.late import LateCards
from bridge.engine.leader import Leader
from bridge.engine.reading import Reading
from bridge.engine.retention import Retention
from bridge.engine.statusline import StatusLines
from bridge.engine.sweep import Sweep
from bridge.engine.turn import Present
from bridge.engine.worker import Workers
from bridge.host import BridgeHost
from bridge.http_api import health, metrics
from bridge.http_api.admin import AdminApi
from bridge.http_api.conversations import ConversationHandlers
from bridge.http_api.health import Part
from bridge.http_api.people import PeopleHandlers
from bridge.http_api.status import StatusHandlers
from bridge.metrics import Metrics, backlog
from bridge.people.access import mint
from bridge.people.claiming import Claiming
from bridge.people.deciders import Deciders
from bridge.people.sign_in import SignInLinks
from bridge.present.turn import TurnPresentation
from bridge.schedules.due import Due
from bridge.schedules.running import Schedules
from bridge.schedules.timetable import Timetable
from bridge.settings import BridgeSettings, SettingsInvalid, read_signing_keys
from bridge.store.dialects import database_at
from bridge.store.errors import StoreTrouble
from bridge.store.migrate import migrate
from bridge.store.schema import seen

log = structlog.get_logger()

ADAPTER_STOP_SECONDS = 1.5
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Between two starts of an adapter that ended, in seconds."""
MIB = 1024 * 1024


class Bridge:
    """One bridge process. `await start()`, then `await stop()`; or `await run()` for both."""

    def __init__(
        self,
        settings: BridgeSettings,
        *,
        given: Sequence[Plugin] = (),
        adapter_settings: Mapping[str, Mapping[str, str]] | None = None,
        present: Present | None = None,
        drain_seconds: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`given` plugins need no entry point; `adapter_settings` replaces the environment for
        the adapters it names; `clock` says when schedules are due and what day it is for budgets.
        Raises `SettingsInvalid` or `PluginInvalid`; opens nothing."""
        keys = read_signing_keys(settings.signing_keys_file)
        self.settings = settings
        self._drain_seconds = (
            settings.bridge_drain_seconds if drain_seconds is None else drain_seconds
        )
        self.adapters: dict[str, Adapter] = {}
        self._alone: set[str] = set()
        for plugin in plugins.load(settings.adapters, given):
            values = plugins.settings_of(plugin, (adapter_settings or {}).get(plugin.name))
            self.adapters[plugin.name] = plugins.make(
                plugin, values, settings.home, settings.run_dir
            )
            if plugin.one_node:
                self._alone.add(plugin.name)
        try:
            self.client = AgentClient(settings.agent_socket, keys)
        except ValueError as error:
            raise SettingsInvalid(f"BRIDGE_SIGNING_KEYS_FILE: {error}.") from None
        self.db = database_at(settings.database_url)
        self._lines = StatusLines()
        self._troubles: dict[str, DeliveryError] = {}
        self._failed: dict[str, str] = {}
        self._broke: dict[str, tuple[float, str]] = {}
        self._ending = False
        node = mint("n")
        self._metrics = Metrics()
        self._budgets = Budgets(self.db, _rules(settings), clock)
        self._warnings = Warnings(self.db, self._budgets, self.client)
        inbox = Inbox(
            self.db,
            node,
            settings.adapters,
            settings.bridge_turn_seconds,
            settings.bridge_person_concurrency,
            self._budgets,
        )
        self._leader = Leader(self.db, node)
        self._claiming = Claiming(self.db, settings.home)
        self._retention = Retention(self.db, self._budgets, settings.bridge_keep_days)
        patience = settings.bridge_agent_patience_seconds
        deciders = Deciders(self.db, self.client)
        files = AgentFiles(self.client)
        table = Timetable(self.db, settings.adapters, settings.schedules, clock)
        due = Due(table)
        limits = FileLimits(
            settings.bridge_file_mib * MIB,
            settings.bridge_message_mib * MIB,
            settings.bridge_message_files,
        )
        self._workers = Workers(
            self.db,
            inbox,
            self.client,
            self.adapters,
            deciders,
            files,
            Attaching(self.db, files, limits, settings.spool_dir),
            Reading(self.db),
            present=present or TurnPresentation,
            lines=self._lines,
            report=self._heard,
            displaced=due.displaced,
            warnings=self._warnings,
            metrics=self._metrics,
            concurrency=settings.bridge_concurrency,
            patience=patience,
        )
        self._late = LateCards(self.db, self.client, self.adapters, report=self._heard)
        deciding = Deciding(
            self.db, self.client, self._workers, deciders, self._late, patience=patience
        )
        self.schedules = Schedules(
            self.db, table, due, self.adapters, self._workers.wake_ready, report=self._heard
        )
        self._clicks = Clicks(
            self.db,
            self._workers,
            self.adapters,
            deciding,
            self.schedules,
            node=node,
            report=self._heard,
        )
        self._feed = Feed(self.db, self.client, self._workers, inbox, self._late.settle)
        self._sweep = Sweep(self.db, self.client, self._workers, inbox, deciders)
        self.host = BridgeHost(
            self.db,
            self._workers,
            self._clicks,
            self.client,
            deciders,
            self.schedules,
            self._budgets,
            SignInLinks(settings.public_url, settings.link_keys),
        )
        self._admin = self._admin_api(deciding, adapter_settings or {})
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self._over = asyncio.Event()
        self.address: tuple[str, int] | None = None
        """Where HTTP is served, once started."""

    def _admin_api(
        self, deciding: Deciding, adapter_settings: Mapping[str, Mapping[str, str]]
    ) -> AdminApi | None:
        keys = self.settings.admin_keys
        if not keys:
            return None
        status = StatusHandlers(self.db, self.parts, self.settings.adapters, adapter_settings)
        routes = [
            *status.routes(),
            *PeopleHandlers(self.db, self.host).routes(),
            *ConversationHandlers(self.db, self._workers, deciding).routes(),
        ]
        return AdminApi(self.db, self.settings.admin_socket, keys, routes)

    async def start(self) -> None:
        """Everything up. Raises `StoreUnusable`, `StoreTrouble` or `SettingsInvalid`, with nothing
        left running."""
        await asyncio.to_thread(migrate, self.settings.database_url)
        await self.db.open()
        try:
            await self._claiming.renew()
            await self._listen()
            await self._leader.take_back()
            await self._workers.start()
            await self._clicks.start()
            if self._admin is not None:
                await self._admin.start()
        except BaseException:
            await self.stop()
            raise
        self._tasks = [
            asyncio.create_task(self._leader.keep("feed", self._feed.run), name="feed"),
            asyncio.create_task(self._leader.keep("retention", self._retention.run), name="forget"),
            asyncio.create_task(self._leader.keep("waiting", self._sweep.run), name="waiting"),
            asyncio.create_task(self._claiming.run(), name="claim"),
            asyncio.create_task(self.schedules.run(), name="schedules"),
            *(
                asyncio.create_task(self._serve(adapter), name=f"adapter {adapter.name}")
                for adapter in self.adapters.values()
            ),
        ]
        log.info("bridge started", adapters=list(self.adapters), home=str(self.settings.home))

    async def stop(self) -> None:
        """Nothing new is taken, running turns get `BRIDGE_DRAIN_SECONDS`, the rest is handed over
        to another node or the next start. Harmless to repeat."""
        self._ending = True
        if self._admin is not None:
            await self._admin.stop()
        await self._end_tasks()
        await self._workers.stop(self._drain_seconds)
        await self._clicks.stop()
        await self._late.stop()
        await self.schedules.stop()
        await self.host.stop()
        await self._lines.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self.client.close()
        await self.db.close()
        self._over.set()

    async def _end_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=ADAPTER_STOP_SECONDS)
            for task in stuck:
                log.error("does not stop, left behind", task=task.get_name())

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Start, serve until `finish` is called or an adapter cannot go on, stop. `started` is
        called once everything is up."""
        await self.start()
        started()
        try:
            await self._over.wait()
        finally:
            await self.stop()
        if self._failed:
            raise plugins.PluginInvalid("\n".join(self._failed.values()))

    def finish(self) -> None:
        """Let `run` stop and return."""
        self._over.set()

    async def _serve(self, adapter: Adapter) -> None:
        clock = asyncio.get_running_loop().time
        pause = FIRST_PAUSE
        while not self._ending:
            began = clock()
            try:
                if adapter.name in self._alone:
                    await self._leader.run(
                        f"adapter {adapter.name}", lambda: adapter.run(self.host)
                    )
                else:
                    await adapter.run(self.host)
                why = "It ended by itself."
                log.error("adapter ended by itself, starting it again", adapter=adapter.name)
            except SetupInvalid as error:
                self._failed[adapter.name] = f"Adapter {adapter.name}: {error} {error.remedy}"
                log.error("adapter refused", adapter=adapter.name, error=str(error))
                self._over.set()
                return
            except Exception as error:
                why = f"It failed ({type(error).__name__}) and is started again."
                log.exception("adapter failed, starting it again", adapter=adapter.name)
            if clock() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            self._broke[adapter.name] = (clock() + 2 * LONGEST_PAUSE, why)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _listen(self) -> None:
        where = self.settings.listen
        served = self._served()
        if where is None:
            if served:
                raise SettingsInvalid(
                    f"BRIDGE_LISTEN: it is off, but the adapters {', '.join(served)} take calls "
                    "over HTTP; give it a host:port."
                )
            return
        app = web.Application()
        health.init_app(app, self._checks())
        token = self.settings.bridge_metrics_token.get_secret_value()
        metrics.init_app(app, token, self._counted, self.client.metrics)
        for name, part in served.items():
            app.add_subapp(f"/{name}/", part)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, *where)
        try:
            await site.start()
        except OSError as error:
            raise SettingsInvalid(
                f"BRIDGE_LISTEN: {self.settings.bridge_listen} cannot be used "
                f"({error.strerror}); choose another host:port, or off."
            ) from None
        host, port = self._runner.addresses[0][:2]
        self.address = (str(host), int(port))

    def _served(self) -> dict[str, web.Application]:
        """What adapters serve over HTTP, by their name."""
        found: dict[str, web.Application] = {}
        for name, adapter in self.adapters.items():
            routes = adapter.routes(self.host) if isinstance(adapter, Serves) else ()
            if routes:
                found[name] = web.Application()
                found[name].add_routes(cast("Sequence[web.AbstractRouteDef]", routes))
        return found

    async def parts(self) -> dict[str, Part]:
        """How every part is, as `/healthz` tells it."""
        return await health.look(self._checks())

    async def _counted(self) -> bytes:
        now = await self.db.tx(backlog, self.db, durable=False)
        return self._metrics.text(now, self._workers.at_work, await self.parts())

    def _checks(self) -> dict[str, health.Check]:
        checks: dict[str, health.Check] = {"store": self._store_part, "agent": self._agent_part}
        checks["budget"] = self._budget_part
        for adapter in self.adapters.values():
            checks[f"adapter {adapter.name}"] = self._adapter_part(adapter)
        return checks

    async def _store_part(self) -> Part:
        # A write: a full disk reads well.
        beat = self.db.insert(seen).values(key="bridge:health", at=self.db.now)
        write = beat.on_conflict_do_update(index_elements=[seen.c.key], set_={"at": self.db.now})
        try:
            await self.db.tx(lambda con: con.execute(write).rowcount, durable=False)
        except StoreTrouble as error:
            return Part("failed", str(error), error.remedy)
        if told := " ".join(filter(None, [self.db.deaf, *self._leader.troubles])):
            return Part("degraded", told, "The bridge's log says why.")
        return Part("ok")

    async def _agent_part(self) -> Part:
        if await self.client.healthy():
            return Part("ok")
        return Part("failed", "The agent service does not answer.", "See `bascule doctor`.")

    async def _budget_part(self) -> Part:
        stand = await self._warnings.deployment()
        if stand is None or stand[0] < stand[1] * WARN_SHARE:
            return Part("ok")
        used, most = stand
        return Part(
            "degraded",
            f"{share(used, most)} of the deployment's budget of this month is used.",
            "An admin can raise it in the chat: `budget deployment`.",
        )

    def _adapter_part(self, adapter: Adapter) -> health.Check:
        async def check() -> Part:
            if refused := self._failed.get(adapter.name):
                return Part("failed", refused)
            until, why = self._broke.get(adapter.name, (0.0, ""))
            if asyncio.get_running_loop().time() < until:
                return Part("degraded", why, "The bridge's log says why.")
            own = await adapter.health()
            if own.state == "ok" and (trouble := self._troubles.get(adapter.name)):
                return Part("degraded", str(trouble), trouble.remedy)
            return Part(own.state, own.detail, own.remedy)

        return check

    def _heard(self, adapter: str, error: DeliveryError | None, for_good: bool) -> None:
        failed: Literal["failed", "retried"] = "failed" if for_good else "retried"
        self._metrics.delivered(adapter, "done" if error is None else failed)
        if error is None:
            self._troubles.pop(adapter, None)
        else:
            self._troubles[adapter] = error


def _rules(settings: BridgeSettings) -> Rules:
    return Rules(
        settings.bridge_person_usd_a_day,
        settings.bridge_person_turns_a_day,
        settings.bridge_deployment_usd_a_month,
        settings.bridge_timezone,
        settings.bridge_messages_a_minute,
        settings.bridge_commands_a_minute,
    )
