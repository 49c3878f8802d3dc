"""Files that go out, below their post, each once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import aiohttp

from adapters.contract import FileOut, TryLater
from adapters.slack import thread as slack_thread
from adapters.slack.api import PAUSE, Api, Bot

FILE_LIMIT = 256 * 2**20
"""Slack takes up to 1 GiB; the bridge holds a file in memory."""
MOST_POSTS = 2_000
_UPLOAD = aiohttp.ClientTimeout(total=600, sock_connect=20, sock_read=60)
_Known = set[tuple[str, int]]


class Uploads:
    """An upload carries nothing by which it could be found again, so after a crash the thread is
    read: a file of ours with that name and size, after the post, is this one."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def begin(self, channel: str, ts: str) -> None:
        """This post was just made: nothing is below it yet."""
        self._keep(f"{channel}:{ts}", set())

    async def bring(
        self, bot: Bot, channel: str, thread: str, ts: str, files: Sequence[FileOut]
    ) -> None:
        """Returns once all of them are below the post. Raises `DeliveryError`."""
        if not files:
            return
        post = f"{channel}:{ts}"
        known = self._known.get(post)
        if known is None:
            known = await self._there(bot, channel, thread or ts, ts)
            self._keep(post, known)
        for file in files:
            mark = (file.name, len(file.data))
            if mark not in known:
                await self._upload(file, channel, thread or ts)
                known.add(mark)

    async def _there(self, bot: Bot, channel: str, thread: str, ts: str) -> _Known:
        found: _Known = set()
        async for message in slack_thread.replies(self._api, channel, thread, ts):
            if bot.bot and message.get("bot_id") not in (None, bot.bot):
                continue
            if message.get("user") not in (None, "", bot.user):
                continue
            for file in message.get("files") or ():
                found.add((str(file.get("name", "")), int(file.get("size") or 0)))
        return found

    async def _upload(self, file: FileOut, channel: str, thread: str) -> None:
        api = self._api
        place = await api.ask(
            api.web.files_getUploadURLExternal(filename=file.name, length=len(file.data))
        )
        await self._put(str(place["upload_url"]), file)
        await api.ask(
            api.web.files_completeUploadExternal(
                files=[{"id": str(place["file_id"]), "title": file.name}],
                channel_id=channel,
                thread_ts=thread,
            )
        )

    async def _put(self, url: str, file: FileOut) -> None:
        session = self._api.web.session
        own = session is None or session.closed
        session = aiohttp.ClientSession() if own or session is None else session
        try:
            # The address itself is the permission: no token goes with it.
            async with session.post(
                url, data=file.data, allow_redirects=False, timeout=_UPLOAD
            ) as answer:
                if answer.status != 200:
                    raise TryLater(f"Slack did not take a file ({answer.status}).", after=PAUSE)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TryLater(
                f"A file did not reach Slack ({type(error).__name__}).", after=PAUSE
            ) from None
        finally:
            if own:
                await session.close()

    def _keep(self, post: str, known: _Known) -> None:
        self._known[post] = known
        if len(self._known) > MOST_POSTS:
            self._known.popitem(last=False)
