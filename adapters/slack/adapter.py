"""Slack as the bridge sees it: `adapters.contract.Adapter` with a status line, marks and HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Literal

import structlog
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.app.async_app import AsyncApp

from adapters.contract import (
    AdapterContext,
    Address,
    Attachment,
    Capabilities,
    DeliveryError,
    Health,
    Host,
    MessageOut,
    PostRef,
    Quote,
    SetupInvalid,
)
from adapters.slack.api import RENEW, Api, Bot, Revoked
from adapters.slack.arrivals import Arrivals
from adapters.slack.blocks import TEXT_LIMIT
from adapters.slack.bolt import bolt_app
from adapters.slack.catchup import MARK_SECONDS, CatchUp
from adapters.slack.dialogs import Dialogs
from adapters.slack.downloads import Downloads
from adapters.slack.earlier import earlier
from adapters.slack.gate import Gate
from adapters.slack.intake import Intake
from adapters.slack.marks import Mark, Marks, StatusLines
from adapters.slack.pace import Pace
from adapters.slack.people import People
from adapters.slack.posts import Posts
from adapters.slack.settings import SlackSettings
from adapters.slack.slash import Commands
from adapters.slack.sockets import Sockets
from adapters.slack.streams import Streams
from adapters.slack.uploads import FILE_LIMIT, Uploads
from adapters.slack.welcome import Welcome

log = structlog.get_logger()
LONGEST_PAUSE = 30.0
UNINSTALLED = {
    "app_uninstalled": "The app was removed from the workspace.",
    "tokens_revoked": "The bot's token was revoked.",
}


class SlackAdapter:
    """One workspace. `ping` is the seconds between two looks at a connection."""

    name = "slack"
    caps = Capabilities(text_limit=TEXT_LIMIT, edit_interval=1.5, file_limit=FILE_LIMIT)

    def __init__(self, context: AdapterContext, *, ping: float = 5.0) -> None:
        """Raises `SetupInvalid`; opens nothing."""
        self._settings = settings = SlackSettings.of(context.settings)
        self._directory = context.state_dir
        self._ping = ping
        self._trouble = ""
        self._gone = ""
        self._api = Api(settings.bot_token, settings.api_url, trouble=self._troubled)
        self._pace = Pace()
        self._arrivals = Arrivals()
        self._streams = Streams(self._api, self._pace)
        uploads = Uploads(self._api)
        self._posts = Posts(self._api, self._pace, uploads, self._streams, self._arrivals)
        self._downloads = Downloads(self._api, settings.api_url, settings.bot_token)
        self._status = StatusLines(self._api)
        self._marks = Marks(self._api, self._pace, self._arrivals)
        self._bot: Bot | None = None
        self._people: People | None = None
        self._app: AsyncApp | None = None
        self._sockets: Sockets | None = None
        self._was_connected = False
        self._gaps: asyncio.Queue[float] = asyncio.Queue()

    async def run(self, host: Host) -> None:
        """Serve until cancelled. See the port."""
        session = self._api.open()
        tasks: list[asyncio.Task[None]] = []
        commands: Commands | None = None
        try:
            bot = await self._introduce()
            people = self._people = People(self._api, bot)
            gate = Gate(self._settings, self._posts)
            commands = Commands(host, bot, people, self._posts, gate)
            intake = Intake(
                host,
                bot,
                people,
                self._posts,
                self._streams,
                self._arrivals,
                gate,
                Dialogs(self._api, bot, people, self._posts, gate),
                commands,
                Welcome(host, self._api, bot, people, self._posts, gate),
                gone=self._uninstalled,
            )
            self._app = bolt_app(self._api, bot, self._settings.signing_secret, intake.take)
            catching = CatchUp(host, self._api, bot, self._pace, intake, self._directory)
            tasks = [
                asyncio.create_task(self._status.keep(), name="slack status"),
                asyncio.create_task(self._catch_up(catching), name="slack catch up"),
            ]
            await self._listen(self._app)
        finally:
            self._app = self._sockets = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if commands is not None:
                await commands.close()
            await session.close()

    def routes(self, host: Host) -> Sequence[object]:
        """See `adapters.contract.Serves`. Events, interactions and commands come to one address,
        each signed; what is not is refused before it is read."""
        if self._settings.mode == "socket":
            return ()
        return (web.post("/events", self._heard),)

    async def send(self, to: Address, message: MessageOut, key: str) -> PostRef:
        """See the port."""
        return await self._posts.send(await self._who(), to, message, key)

    async def edit(self, to: Address, ref: PostRef, message: MessageOut) -> None:
        """See the port."""
        await self._posts.edit(await self._who(), to, ref, message)

    def fetch(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """See the port."""
        return self._downloads.read(attachment)

    async def earlier(self, at: Address, before: str, most: int) -> Sequence[Quote]:
        """See `adapters.contract.Earlier`."""
        bot = await self._who()
        people = self._people or People(self._api, bot)
        return await earlier(self._api, bot, people, at, before, most)

    async def status(self, at: Address, text: str) -> None:
        """See `adapters.contract.Status`."""
        await self._status.show(at, text)

    async def react(
        self, at: Address, message_key: str, mark: Literal["queued", "working", "done", "failed"]
    ) -> None:
        """See `adapters.contract.Reacts`."""
        known: Mark = mark
        await self._marks.put(message_key, known)

    async def health(self) -> Health:
        if self._gone or self._trouble:
            return Health("failed", self._gone or self._trouble, RENEW)
        if self._app is None or self._bot is None:
            return Health("starting", "Slack has not answered yet.")
        where = f"{self._bot.name} in {self._bot.url or self._bot.team}"
        if self._settings.mode == "http":
            return Health("ok", f"{where}, over HTTP.")
        if self._sockets is None or not await self._sockets.connected():
            why = self._sockets.trouble if self._sockets is not None else ""
            if not why and not self._was_connected:
                return Health("starting", "Connecting to Slack.")
            return Health(
                "failed",
                f"Not connected to Slack. {why}".strip(),
                "Check this machine's way to the internet; it goes on trying.",
            )
        self._was_connected = True
        return Health("ok", where)

    async def _introduce(self) -> Bot:
        """Who we are. Tries until Slack answers; raises `SetupInvalid` for a token it refuses."""
        pause = 0.5
        while True:
            try:
                self._bot = await self._api.who()
            except Revoked as error:
                raise SetupInvalid(
                    f"Slack refuses SLACK_BOT_TOKEN: {error}",
                    fields=("SLACK_BOT_TOKEN",),
                    remedy=RENEW,
                ) from None
            except DeliveryError as error:
                log.warning("Slack does not answer yet", error=str(error))
                await asyncio.sleep(max(pause, getattr(error, "after", 0.0)))
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                self._gone = ""
                return self._bot

    async def _listen(self, app: AsyncApp) -> None:
        if self._settings.mode == "http":
            self._gaps.put_nowait(0.0)
            await asyncio.Event().wait()
        self._sockets = Sockets(self._api, self._settings.app_token, app, ping=self._ping)
        await self._sockets.run(self._back)

    def _back(self, since: float) -> None:
        self._was_connected = True
        self._gaps.put_nowait(since)

    async def _catch_up(self, catching: CatchUp) -> None:
        """Read back after each gap; in between, note that somebody listens."""
        while True:
            try:
                async with asyncio.timeout(MARK_SECONDS):
                    since = await self._gaps.get()
            except TimeoutError:
                if (await self.health()).state == "ok":
                    await catching.mark()
                continue
            since = since or catching.marked()
            if since:
                began = time.monotonic()
                try:
                    looked = await catching.read_back(since)
                except Exception:
                    log.exception("not read back")
                else:
                    seconds = round(time.monotonic() - began, 1)
                    log.info("read back from Slack", messages=looked, seconds=seconds)
            await catching.mark()

    async def _heard(self, request: web.Request) -> web.Response:
        app = self._app
        if app is None:
            return web.Response(status=503)
        return await to_aiohttp_response(await app.async_dispatch(await to_bolt_request(request)))

    async def _who(self) -> Bot:
        if self._bot is None:
            self._bot = await self._api.who()
        return self._bot

    def _troubled(self, why: str) -> None:
        self._trouble = why

    def _uninstalled(self, what: str) -> None:
        self._gone = UNINSTALLED.get(what, what)
        log.error("the Slack app is gone", what=what, remedy=RENEW)
