"""Socket Mode: two connections, so that one is open while Slack renews the other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import structlog
from slack_bolt.adapter.socket_mode.async_internals import run_async_bolt_app, send_async_response
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from adapters.contract import DeliveryError, NotAllowed, SetupInvalid
from adapters.slack.api import Api, Revoked
from adapters.slack.log import quiet

log = structlog.get_logger()
LINES = 2
DOWN_SECONDS = 15.0
"""A connection that is down for so long is made anew: the SDK tries a used address for ever."""
CLOSE_SECONDS = 1.0
LOOK_SECONDS = 0.25
LONGEST_PAUSE = 60.0


class _Line(SocketModeClient):
    """Renews its connection only while no other line renews its own: the SDK closes the old one
    before it opens the new one."""

    def __init__(
        self,
        api: Api,
        app_token: str,
        one_at_a_time: asyncio.Lock,
        opened: asyncio.Event,
        ping: float,
    ) -> None:
        super().__init__(
            app_token,
            logger=quiet(),
            web_client=api.web,
            ping_interval=ping,
        )
        self._one_at_a_time = one_at_a_time
        self._opened = opened

    async def connect(self) -> None:
        await super().connect()  # type: ignore[no-untyped-call]
        self._opened.set()

    async def connect_to_new_endpoint(self, force: bool = False) -> None:
        async with self._one_at_a_time:
            await super().connect_to_new_endpoint(force)

    async def end(self) -> None:
        """Nothing of it is left running."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close()  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - a broken connection is as good as closed
            log.debug("connection not closed well", error=type(error).__name__)
        await self.aiohttp_client_session.close()
        parts = [self.message_processor, self.current_session_monitor, self.message_receiver]
        running = [part for part in parts if part is not None]
        for part in running:
            part.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Sockets:
    def __init__(self, api: Api, app_token: str, app: AsyncApp, *, ping: float = 5.0) -> None:
        self._api = api
        self._token = app_token
        self._app = app
        self._ping = ping
        self._one_at_a_time = asyncio.Lock()
        self._opened = asyncio.Event()
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False
        self.trouble = ""
        """Why there is no connection, in words."""

    async def connected(self) -> int:
        """How many connections are open."""
        return sum([await line.is_connected() for line in tuple(self._lines)])

    async def run(self, back: Callable[[float], None]) -> None:
        """Serve until cancelled. `back` hears whenever nothing was connected and something is
        again, and since when (seconds since the epoch; 0 the first time).

        Raises `SetupInvalid` when Slack refuses the token for good.
        """
        tasks = [asyncio.create_task(self._hold(number)) for number in range(LINES)]
        tasks.append(asyncio.create_task(self._watch(back)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._closing = True
            for task in (*tasks, *self._tasks):
                task.cancel()
            await asyncio.gather(*tasks, *self._tasks, return_exceptions=True)
            await asyncio.gather(*(line.end() for line in tuple(self._lines)))
            self._lines.clear()

    async def _hold(self, number: int) -> None:
        """One line, made anew whenever it does not come back by itself."""
        pause = 0.5
        first = True
        while True:
            try:
                said = await self._api.ask(
                    self._api.web.apps_connections_open(app_token=self._token),
                    bots=False,
                )
                address = str(said["url"])
            except (Revoked, NotAllowed) as error:
                if first and number == 0:
                    raise _refused(error) from None
                self.trouble = f"Slack does not accept the app's token: {error}"
                pause = LONGEST_PAUSE
            except DeliveryError as error:
                self.trouble = str(error)
            else:
                pause, first = 0.5, False
                await self._keep(address)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _keep(self, address: str) -> None:
        """Returns once the line has been down for too long; it is closed then."""
        line = _Line(self._api, self._token, self._one_at_a_time, self._opened, self._ping)
        line.wss_uri = address
        line.socket_mode_request_listeners.append(self._heard)
        self._lines.add(line)
        connecting = asyncio.create_task(line.connect())
        try:
            well = time.monotonic()
            while time.monotonic() - well < DOWN_SECONDS:
                if await line.is_connected():
                    well = time.monotonic()
                await asyncio.sleep(LOOK_SECONDS)
            log.warning("no connection to Slack comes back, making a new one")
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            if not self._closing:
                self._lines.discard(line)
                await line.end()

    async def _watch(self, back: Callable[[float], None]) -> None:
        """A gap is where no connection of before is open any more, however short it was."""
        before: list[Any] = []
        looked = since = 0.0
        ever = False
        while True:
            lines = [line for line in tuple(self._lines) if await line.is_connected()]
            now = [line.current_session for line in lines]
            if now and not any(session in before for session in now):
                self.trouble = ""
                back((since or looked) if ever else 0.0)
                since, ever = 0.0, True
            elif before and not now:
                since = looked
                log.warning("no connection to Slack")
            before, looked = now, time.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._opened.wait()
            self._opened.clear()

    async def _heard(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        """Acknowledges only what was stored: all else Slack delivers again."""
        task = asyncio.current_task()
        if self._closing or task is None:
            return
        self._tasks.add(task)
        try:
            response = await run_async_bolt_app(self._app, request)
            await send_async_response(client, request, response, time.time())
        finally:
            self._tasks.discard(task)


def _refused(error: DeliveryError) -> SetupInvalid:
    return SetupInvalid(
        f"Slack refuses SLACK_APP_TOKEN: {error}",
        fields=("SLACK_APP_TOKEN",),
        remedy="Make a token with the scope connections:write on the app's page Basic Information, "
        "App-Level Tokens, and switch Socket Mode on.",
    )
