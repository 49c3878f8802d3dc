"""Files that people sent. The bot's token goes to Slack's own file hosts and nowhere else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp

from adapters.contract import Attachment, FileRefused, Gone, NotAllowed, TryLater
from adapters.slack.api import PAUSE, Api, Refused

CHUNK = 64 * 1024
MOST_REDIRECTS = 3
SECONDS = 300.0
_ID = re.compile(r"F[A-Z0-9]{2,30}")
_NO_FILE = {"file_not_found", "file_deleted", "file_not_visible", "access_denied"}


def attachments(files: tuple[Mapping[str, Any], ...]) -> tuple[Attachment, ...]:
    """Named by the files' ids alone: where a file is, Slack is asked again when it is fetched."""
    return tuple(
        Attachment(
            ref=str(file["id"]),
            name=str(file.get("name") or file.get("title") or file["id"]),
            media_type=str(file.get("mimetype") or ""),
            size=int(file.get("size") or 0),
        )
        for file in files
    )


class Downloads:
    def __init__(self, api: Api, api_url: str, token: str) -> None:
        self._api = api
        self._token = token
        self._hosts = _file_hosts(api_url)

    async def read(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """See `adapters.contract.Adapter.fetch`."""
        file = await self._about(attachment.ref)
        url = str(file.get("url_private_download") or file.get("url_private") or "")
        if file.get("is_external") or file.get("mode") == "external":
            raise FileRefused(
                "The file lies outside Slack, where Bascule does not fetch it: upload it to Slack."
            )
        if file.get("mode") == "hidden_by_limit":
            raise FileRefused("Slack keeps the file from being read: the workspace's plan is full.")
        timeout = aiohttp.ClientTimeout(total=SECONDS, sock_connect=20, sock_read=30)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                async with await self._open(session, url) as answer:
                    self._check(answer, str(file.get("mimetype") or ""))
                    async for chunk in answer.content.iter_chunked(CHUNK):
                        yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TryLater(
                f"The file could not be had from Slack ({type(error).__name__}).", after=PAUSE
            ) from None

    async def _about(self, ref: str) -> Mapping[str, Any]:
        if not _ID.fullmatch(ref):
            raise FileRefused("There is no such file in Slack.")
        try:
            said = await self._api.ask(self._api.web.files_info(file=ref))
        except Gone:
            raise FileRefused("The file is not in Slack any more.") from None
        except Refused as error:
            if error.code in _NO_FILE:
                raise FileRefused("The file is not in Slack any more.") from None
            raise
        except NotAllowed as error:
            raise FileRefused(f"{error} {error.remedy}".strip()) from None
        found = said.get("file")
        return found if isinstance(found, Mapping) else {}

    async def _open(self, session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
        headers = {"Authorization": f"Bearer {self._token}"}
        for _ in range(MOST_REDIRECTS):
            if not self._ours(url):
                raise FileRefused(
                    "The file is not on Slack's own file hosts, so it is not fetched."
                )
            answer = await session.get(url, headers=headers, allow_redirects=False)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            url = urljoin(url, answer.headers.get("Location", ""))
            answer.release()
        raise FileRefused("Slack sends from one place to the next for this file.")

    def _ours(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            return (parts.scheme, parts.hostname, parts.port) in self._hosts and not parts.username
        except ValueError:
            return False

    def _check(self, answer: aiohttp.ClientResponse, media_type: str) -> None:
        if answer.status == 200:
            # Whoever lacks the permission gets the page to sign in instead of the file.
            if answer.content_type == "text/html" and "html" not in media_type:
                raise FileRefused(
                    "Slack does not give the file: the app lacks the scope files:read."
                )
            return
        if answer.status == 429 or answer.status >= 500:
            after = answer.headers.get("Retry-After", "")
            pause = float(after) if after.isdecimal() else PAUSE
            raise TryLater(f"Slack gives no files now ({answer.status}).", after=pause)
        if answer.status in (404, 410):
            raise FileRefused("The file is not in Slack any more.")
        raise FileRefused(f"Slack does not give the file ({answer.status}).")


def _file_hosts(api_url: str) -> set[tuple[str, str | None, int | None]]:
    url = urlsplit(api_url)
    host = url.hostname or ""
    found: set[tuple[str, str | None, int | None]] = {("https", f"files.{host}", None)}
    found.add((url.scheme, host, url.port))
    return found
