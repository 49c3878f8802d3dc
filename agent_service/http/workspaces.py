"""Handlers of workspaces: files in and out, instructions, size, reset, export and removal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import structlog
from aiohttp import web
from pydantic import TypeAdapter

from agent_service.contract.workspaces import (
    LIST_LIMIT,
    FileEntry,
    FileList,
    Instructions,
    Reset,
    WorkspaceRemoved,
    WorkspaceView,
)
from agent_service.egress.hosts import Hosts
from agent_service.http.guard import UPLOAD, identifier, number, parsed, reply, text
from agent_service.http.routes import ADMIN, BRIDGE, Route
from agent_service.store import workspaces
from agent_service.store.database import Database
from agent_service.turns.runner import TurnRunner
from agent_service.workspaces import archive, beneath, listing, trees
from agent_service.workspaces.directory import Workspace, Workspaces, encoded

_log = structlog.get_logger(__name__)
T = TypeVar("T")

_ENTRY = TypeAdapter(FileEntry)
_LIST = TypeAdapter(FileList)
_INSTRUCTIONS = TypeAdapter(Instructions)
_VIEW = TypeAdapter(WorkspaceView)
_RESET = TypeAdapter(Reset)
_REMOVED = TypeAdapter(WorkspaceRemoved)

CHUNK = 256 * 1024
_BYTES = "application/octet-stream"


class WorkspaceHandlers:
    """Routes under /v1/workspaces."""

    def __init__(
        self, places: Workspaces, runner: TurnRunner, database: Database, hosts: Hosts
    ) -> None:
        self._places = places
        self._runner = runner
        self._database = database
        self._hosts = hosts

    def routes(self) -> list[Route]:
        one, both = "/v1/workspaces/{workspace}", frozenset({BRIDGE, ADMIN})
        path = {"path": "Where it is in the workspace, like reports/may.txt."}
        return [
            Route("GET", one, self.view, "How large a workspace is, and since when it exists.",
                  both, answer=WorkspaceView),
            Route("DELETE", one, self.remove, "Remove a workspace, its conversations and all that "
                  "was said in them; idempotent.", both, answer=WorkspaceRemoved),
            Route("POST", one + "/reset", self.reset, "Empty a workspace and let its conversations "
                  "begin anew.", both, body=Reset, answer=WorkspaceView),
            Route("GET", one + "/export", self.export, "All files as a tar archive.", both,
                  sends="application/x-tar"),
            Route("GET", one + "/instructions", self.instructions, "Its CLAUDE.md.", both,
                  answer=Instructions),
            Route("PUT", one + "/instructions", self.instruct, "Put another CLAUDE.md there; makes "
                  "the workspace if need be.", both, body=Instructions, answer=Instructions),
            Route("GET", one + "/files", self.files, "The files in a folder, by name.", both,
                  answer=FileList, query={"recursive": "1: and all below it.",
                         "newest": "So many of the files below it instead, changed last first; "
                         "hidden ones are left out."},
                  texts={"path": "The folder; none: the workspace's own.",
                         "after": "Go on behind this: `next` of the page before."}),
            Route("GET", one + "/file", self.download, "A file.", both, sends=_BYTES, needs=path),
            Route("PUT", one + "/file", self.upload, "Put a file there, in place of one that is; "
                  "makes folders, and the workspace, if need be.", both, answer=FileEntry,
                  query={"fresh": "1: replace nothing; `conflict` with `taken` where anything else "
                         "than the same file is."},
                  needs=path, upload=True),
            Route("DELETE", one + "/file", self.unlink, "Remove a file, a link or an empty folder.",
                  both, answer=FileEntry, needs=path),
        ]  # fmt: skip

    # ---- files ----

    async def files(self, request: web.Request) -> web.StreamResponse:
        parts = beneath.parts_of(text(request, "path"))
        after = beneath.parts_of(text(request, "after"))
        recursive = number(request, "recursive") > 0
        newest = min(number(request, "newest"), LIST_LIMIT)

        def page(top: int) -> FileList:
            if newest:
                return listing.newest(top, parts, newest)
            return listing.page(top, parts, recursive=recursive, after=after)

        async with self._known(request) as place:
            run = self._places.threads.slow if recursive or newest else self._places.threads.quick
            return reply(await run(_in, place.work, page), _LIST)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        parts, source = beneath.parts_of(text(request, "path")), request[UPLOAD].path
        fresh = number(request, "fresh") > 0
        async with self._admitted(request) as place:
            put = self._places.threads.quick(
                _in, place.work, lambda top: beneath.place(top, parts, source, fresh=fresh)
            )
            return reply(await put, _ENTRY)

    async def unlink(self, request: web.Request) -> web.StreamResponse:
        parts = beneath.parts_of(text(request, "path"))
        async with self._known(request) as place:
            remove = self._places.threads.quick(
                _in, place.work, lambda top: beneath.remove(top, parts)
            )
            return reply(await remove, _ENTRY)

    async def download(self, request: web.Request) -> web.StreamResponse:
        parts = beneath.parts_of(text(request, "path"))
        async with self._known(request) as place:
            with ExitStack() as stack:

                def open_file(top: int) -> tuple[int, int]:
                    handle, info = beneath.open_file(top, parts)
                    stack.callback(os.close, handle)
                    return handle, info.st_size

                quick = self._places.threads.quick
                handle, size = await quick(_in, place.work, open_file)
                response = _bytes(_BYTES)
                response.content_length = size
                await response.prepare(request)
                sent = 0
                while sent < size:
                    data = await quick(os.pread, handle, min(CHUNK, size - sent), sent)
                    if not data:
                        _break_off(request, "the file shrank while it was sent")
                    await response.write(data)
                    sent += len(data)
        return response

    async def export(self, request: web.Request) -> web.StreamResponse:
        slow = self._places.threads.slow
        async with self._known(request) as place:
            with beneath.opened(place.work) as top:
                stream = archive.tar(top)
                response = _bytes("application/x-tar")
                await response.prepare(request)
                try:
                    while data := await slow(lambda: next(stream, b"")):
                        await response.write(data)
                except OSError as error:
                    if isinstance(error, ConnectionError):
                        raise
                    _break_off(request, os.strerror(error.errno or 0))
                finally:
                    stream.close()
        return response

    # ---- instructions ----

    async def instructions(self, request: web.Request) -> web.StreamResponse:
        async with self._known(request) as place:
            found = await self._places.threads.quick(self._places.instructions, place)
        return reply(Instructions(found), _INSTRUCTIONS)

    async def instruct(self, request: web.Request) -> web.StreamResponse:
        wanted = parsed(request, _INSTRUCTIONS)
        encoded(wanted.text)  # what is refused makes no workspace
        async with self._admitted(request, wanted.text) as place:
            write = self._places.write_instructions
            await self._places.threads.quick(write, place, wanted.text)
        return reply(wanted, _INSTRUCTIONS)

    # ---- the whole ----

    async def view(self, request: web.Request) -> web.StreamResponse:
        async with self._known(request) as place:
            return reply(await self._view(place), _VIEW)

    async def _view(self, place: Workspace) -> WorkspaceView:
        def measure() -> tuple[trees.Extent, trees.Extent, trees.Extent]:
            work, config, home = (
                _in(path, trees.extent) for path in (place.work, place.config, place.home)
            )
            return work, config, home

        made_at = await self._database.tx(workspaces.made_at, place.id)
        found = await self._places.threads.slow(measure)
        return WorkspaceView(
            workspace=place.id,
            made_at=made_at,
            size=sum(extent.size for extent in found),
            files=found[0].files,
            complete=all(extent.complete for extent in found),
        )

    async def reset(self, request: web.Request) -> web.StreamResponse:
        workspace, wanted = identifier(request, "workspace"), parsed(request, _RESET)
        return reply(await asyncio.shield(self._reset(workspace, wanted)), _VIEW)

    async def _reset(self, workspace: str, wanted: Reset) -> WorkspaceView:
        with self._places.claims.alone(workspace):
            await self._database.tx(workspaces.made_at, workspace)
            await self._runner.end_sessions(workspace)
            # First, so that no session can be resumed that is half removed.
            await self._database.tx(workspaces.forget_sessions, workspace)
            keep = wanted.keep_instructions
            await self._places.threads.slow(self._places.empty, workspace, keep_instructions=keep)
            _log.info("workspace.reset", workspace=workspace)
            return await self._view(self._places.at(workspace))

    async def remove(self, request: web.Request) -> web.StreamResponse:
        workspace = identifier(request, "workspace")
        return reply(await asyncio.shield(self._remove(workspace)), _REMOVED)

    async def _remove(self, workspace: str) -> WorkspaceRemoved:
        with self._places.claims.alone(workspace):
            await self._runner.end_sessions(workspace)
            taken = await self._places.threads.quick(self._places.discard, workspace)
            known = await self._database.tx(workspaces.remove, workspace)
            self._hosts.forget(workspace)
        if taken is not None:
            await self._places.threads.slow(self._places.remove, taken)
        if known or taken is not None:
            _log.info("workspace.removed", workspace=workspace)
        return WorkspaceRemoved(workspace, known or taken is not None)

    # ---- who is it ----

    @asynccontextmanager
    async def _known(self, request: web.Request) -> AsyncIterator[Workspace]:
        """A workspace that exists, for as long as it is used. Raises `NotFound`."""
        workspace = identifier(request, "workspace")
        with self._places.claims.using(workspace):
            await self._database.tx(workspaces.made_at, workspace)
            yield await self._ensured(workspace)

    @asynccontextmanager
    async def _admitted(
        self, request: web.Request, instructions: str = ""
    ) -> AsyncIterator[Workspace]:
        """The same, made if need be, with these instructions from its first moment on. Raises
        `Forbidden` where one person only is served."""
        workspace = identifier(request, "workspace")
        with self._places.claims.using(workspace):
            await self._runner.admit(workspace)
            yield await self._ensured(workspace, instructions)

    async def _ensured(self, workspace: str, instructions: str = "") -> Workspace:
        try:
            return await self._places.threads.quick(self._places.ensure, workspace, instructions)
        except OSError as error:
            raise beneath.refusal(error, "the workspace") from None


def _in(folder: Path, use: Callable[[int], T]) -> T:
    with beneath.opened(folder) as top:
        return use(top)


def _bytes(kind: str) -> web.StreamResponse:
    return web.StreamResponse(
        headers={"Content-Type": kind, "X-Content-Type-Options": "nosniff"},
    )


def _break_off(request: web.Request, why: str) -> NoReturn:
    """End an answer that cannot be what its header said, so that nobody takes it for whole."""
    _log.warning("transfer.broken_off", path=request.path, reason=why)
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError(why)
