"""The connection to Discord: made, kept, made anew, and how it is.

One client serves the gateway and the API. Where this process does not serve (another bridge of the
deployment does), a client for the API alone is made when it is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import discord
import structlog

from adapters.contract import Health, SetupInvalid, TryLater
from adapters.discord import errors, hosts, setup
from adapters.discord.client import Client, Ear
from adapters.discord.setup import Setup

log = structlog.get_logger()
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_TOKEN, _INTENT = 4004, 4014
_FATAL = {
    _TOKEN: (setup.TOKEN_REFUSED, setup.TOKEN_REMEDY, "DISCORD_BOT_TOKEN"),
    _INTENT: (setup.INTENT_REFUSED, setup.INTENT_REMEDY, "DISCORD_MESSAGE_CONTENT"),
}
_DEAF = (
    "Messages of a thread in which the bot is not mentioned cannot be read: it has no Message "
    "Content Intent."
)


class _Refused(Exception):
    """Discord closed the gateway for good; `code` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class Connection:
    """`await serve(...)`; `client()` for calls at any time."""

    def __init__(self, known: Setup, *, pause: float, quiet: float) -> None:
        self._setup = known
        self._pause = pause
        self._quiet = quiet
        self._client: Client | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._making = asyncio.Lock()
        self._health = Health("starting", "Not connected to Discord yet.")
        self._was_up = False
        self._up_now = False

    def health(self) -> Health:
        return self._health

    async def client(self) -> discord.Client:
        """One that is logged in. Raises `DeliveryError`."""
        async with self._making:
            if self._client is None:
                made = Client(content=False)
                await self._log_in(made)
                self._client = made
                self._keeper = asyncio.create_task(_keep(made))
            return self._client

    async def close(self) -> None:
        """End the client for calls, if there is one; another call makes another one."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            self._client = None
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def serve(self, listen: Callable[[Client], Ear]) -> None:
        """Until cancelled. Raises `SetupInvalid` where Discord refuses the settings before they
        ever worked; later that is told by `health`, and tried again."""
        pause = _FIRST_PAUSE
        while True:
            self._up_now = False
            try:
                await self._session(listen)
                said = Health("degraded", "Discord ended the connection; connecting again.")
            except SetupInvalid as error:
                if not self._was_up:
                    raise
                said, pause = Health("failed", str(error), error.remedy), _LONGEST_PAUSE
            except _Refused as refused:
                said, pause = self._fatal(refused.code), _LONGEST_PAUSE
            except (TryLater, *errors.TROUBLE) as error:
                told = errors.of(error)
                said = Health("degraded", f"{told} Connecting again.", told.remedy)
            if self._up_now and said.state != "failed":
                pause = _FIRST_PAUSE
            log.warning("not connected to Discord", detail=said.detail, seconds=pause)
            self._health = said
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _session(self, listen: Callable[[Client], Ear]) -> None:
        """One client from its login to its end."""
        application = await setup.look(self._setup)
        content = setup.wants_content(self._setup, application)
        client = Client(
            content=content,
            pause=self._pause,
            quiet=self._quiet,
            watch=partial(self._note, content),
        )
        await self._log_in(client)
        async with self._making:
            await self.close()
            self._client = client
        ear = client.ear = listen(client)
        try:
            await self._prepare(client)
            await ear.register()
            await client.connect()
        except discord.PrivilegedIntentsRequired as error:
            raise _Refused(_INTENT) from error
        except discord.ConnectionClosed as error:
            if error.code >= _TOKEN:
                raise _Refused(error.code) from error
            raise
        finally:
            await ear.stop()
            if self._client is client:
                self._client = None
            await client.end()

    async def _prepare(self, client: Client) -> None:
        """Shards, the gateway, and no more IDENTIFYs than Discord allows a day."""
        shards, url, limit = await client.http.get_bot_gateway()
        hosts.use_gateway(self._setup.gateway or url)
        client.shard_count = shards
        if limit["remaining"] < shards:
            after = limit["reset_after"] / 1000
            raise TryLater("Discord allows no more connections today.", after=after)

    async def _log_in(self, client: Client) -> None:
        try:
            await client.log_in(self._setup)
        except discord.LoginFailure as error:
            raise TryLater(setup.TOKEN_REFUSED, after=60.0, remedy=setup.TOKEN_REMEDY) from error
        except errors.TROUBLE as error:
            raise errors.of(error) from error

    def _fatal(self, code: int) -> Health:
        detail, remedy, field = _FATAL.get(
            code, (f"Discord refuses the connection ({code}).", "Update Bascule.", "")
        )
        if not self._was_up and field:
            raise SetupInvalid(detail, fields=(field,), remedy=remedy)
        return Health("failed", f"{detail} (close code {code})", remedy)

    def _note(self, content: bool, up: bool) -> None:
        if up:
            self._was_up = self._up_now = True
            detail, remedy = ("", "") if content else (_DEAF, setup.INTENT_REMEDY)
            self._health = Health("ok", detail, remedy)
        elif self._health.state == "ok":
            self._health = Health("degraded", "The connection to Discord broke; it is made anew.")


async def _keep(client: Client) -> None:
    """A client for calls alone lives as long as this task, which ends with the event loop: nobody
    tells an adapter that the last post was made."""
    try:
        await asyncio.Event().wait()
    finally:
        await client.end()
