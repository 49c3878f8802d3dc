"""Files that people attach: named by their message, fetched from Discord's own hosts alone."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

import aiohttp
import discord
from yarl import URL

from adapters.contract import Attachment, FileRefused, TryLater
from adapters.discord import errors, hosts

FILE_LIMIT = 10 * 2**20
"""Bytes of one file going out: what every server takes, boosted or not."""
_REF = re.compile(r"(\d{1,20})/(\d{1,20})/(\d{1,20})")
_CHUNK = 256 * 1024
_GONE = "It is not on Discord any more."
_AGAIN = "Send it again."


def attachment(channel: int, message: int, file: discord.Attachment) -> Attachment:
    """The port's attachment. Addresses of files end after some hours, so its message names it."""
    return Attachment(
        ref=f"{channel}/{message}/{file.id}",
        name=_name(file),
        media_type=file.content_type or "",
        size=file.size,
    )


def _name(file: discord.Attachment) -> str:
    """As its sender named it: Discord keeps what it changed in a name as the title."""
    if not file.title:
        return file.filename
    ending = file.filename.rpartition(".")[2] if "." in file.filename else ""
    return f"{file.title}.{ending}" if ending else file.title


async def fetch(
    client: discord.Client, session: aiohttp.ClientSession, api: str, ref: str
) -> AsyncGenerator[bytes]:
    """The bytes, in order. Raises `FileRefused` or `TryLater`."""
    found = _REF.fullmatch(ref)
    if found is None:
        raise FileRefused("There is no such file.", remedy=_AGAIN)
    url = await _address(client, int(found[1]), int(found[2]), int(found[3]))
    if not hosts.is_content(url, api):
        raise FileRefused("It is not on Discord's own servers.", remedy=_AGAIN)
    try:
        async with session.get(url, allow_redirects=False) as response:
            if response.status in (403, 404, 410) or 300 <= response.status < 400:
                raise FileRefused(_GONE, remedy=_AGAIN)
            if response.status != 200:
                raise TryLater(f"Discord answers with {response.status}.", after=errors.SILENCE)
            async for chunk in response.content.iter_chunked(_CHUNK):
                yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise errors.of(error) from error


async def _address(client: discord.Client, channel: int, message: int, file: int) -> URL:
    """Where the file is now."""
    try:
        said = await client.get_partial_messageable(channel).fetch_message(message)
    except (discord.NotFound, discord.Forbidden) as error:
        raise FileRefused(_GONE, remedy=_AGAIN) from error
    except errors.TROUBLE as error:
        raise errors.of(error) from error
    for one in said.attachments:
        if one.id == file:
            return URL(one.url, encoded=True)
    raise FileRefused(_GONE, remedy=_AGAIN)
