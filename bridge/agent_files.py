"""Files of a workspace, over the agent service's API."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import aiohttp

from agent_service.contract import FileEntry, Instructions, errors
from bridge.agent_client import AgentClient, body_of, known, unavailable

CHUNK = 256 * 1024
SILENCE = 60.0
"""Seconds without a byte after which a transfer counts as broken off."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A file on its way. `handle` is open and stays the caller's."""

    handle: int
    size: int
    sha256: str


class Taken(errors.Conflict):
    """Another file is there, and stays."""


class AgentFiles:
    """Every method raises `ServiceError`; `Unavailable` ones may be tried again."""

    def __init__(self, client: AgentClient) -> None:
        self._client = client
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=SILENCE)

    async def upload(self, workspace: str, path: str, file: Spooled) -> FileEntry:
        """Put it there; it is never whole in memory. Raises `Taken` where another file is."""
        target = f"{_file(workspace, path)}&fresh=1"
        try:
            # By a descriptor of its own: whoever sends it closes it, and reads from its beginning.
            with open(f"/proc/self/fd/{file.handle}", "rb") as body:  # noqa: PTH123, ASYNC230
                async with self._client.open().put(
                    self._client.url(target),
                    data=body,
                    headers={"Content-Type": "application/octet-stream"},
                    middlewares=(self._client.signing_of("PUT", target, file.sha256, ""),),
                    timeout=self._timeout,
                ) as response:
                    answer = await body_of(response)
                    if response.status >= 300:
                        error = errors.from_json(answer, response.status)
                        raise Taken(str(error)) if error.fields.get("taken") else error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unavailable(error) from error
        return _entry(answer)

    async def download(self, workspace: str, path: str, most: int) -> bytes:
        """A file of at most so many bytes, whole. Raises `TooLarge` with its `size`."""
        source = _file(workspace, path)
        try:
            async with self._client.open().get(
                self._client.url(source),
                middlewares=(self._client.signing("GET", source, b"", ""),),
                timeout=self._timeout,
            ) as response:
                if response.status != 200:
                    raise errors.from_json(await body_of(response), response.status)
                size = response.content_length or 0
                if size > most:
                    raise errors.TooLarge("The file is too large.", size=size)
                return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unavailable(error) from error

    async def newest(self, workspace: str, folder: str, most: int) -> list[FileEntry]:
        """The files that were changed last, those first."""
        path = f"/v1/workspaces/{workspace}/files?newest={most}"
        if folder:
            path += f"&path={quote(folder, safe='')}"
        found = (await self._client.call("GET", path, None)).get("entries", ())
        return [_entry(entry) for entry in found]

    async def remove(self, workspace: str, path: str) -> FileEntry:
        """Remove a file, a link or an empty folder; gives what it was."""
        return _entry(await self._client.call("DELETE", _file(workspace, path), None))

    async def instructions(self, workspace: str) -> str:
        """Its CLAUDE.md; empty where there is none, or no workspace yet."""
        try:
            found = await self._client.call("GET", _instructions(workspace), None)
        except errors.NotFound:
            return ""
        return str(found.get("text", ""))

    async def instruct(self, workspace: str, text: str) -> None:
        """Another CLAUDE.md. Raises `TooLarge`."""
        await self._client.call("PUT", _instructions(workspace), {"text": Instructions(text).text})


def _instructions(workspace: str) -> str:
    return f"/v1/workspaces/{workspace}/instructions"


def _file(workspace: str, path: str) -> str:
    return f"/v1/workspaces/{workspace}/file?path={quote(path, safe='')}"


def _entry(data: object) -> FileEntry:
    if not isinstance(data, dict):
        raise errors.Unavailable("The agent service did not say what became of the file.")
    return FileEntry(**known(FileEntry, data))
