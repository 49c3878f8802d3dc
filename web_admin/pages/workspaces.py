"""Workspaces: instructions, files, size, mode and rules, hosts; reset, take away, delete.

A file of a workspace is its agent's: it is only ever sent as an attachment that no browser shows.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from aiohttp import web

from agent_service.contract import (
    ID_PATTERN,
    INSTRUCTIONS_LIMIT,
    MODE_WORDS,
    MODES,
    FileList,
    WorkspaceEgress,
    WorkspaceView,
    errors,
)
from bridge.contract import PersonView
from web_admin.entry.found import FORM, SESSION, field
from web_admin.entry.routes import Page
from web_admin.pages import attachment
from web_admin.pages.desk import Desk
from web_admin.pages.modes import BEHAVIOR_WORDS, behavior_of

CHUNK = 256 * 1024
_ID = re.compile(ID_PATTERN)


class Workspaces:
    """Pages under /workspaces/{id}: of its owner, and of admins."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        one = "/workspaces/{id}"
        return [
            Page("GET", "/workspaces", self.all, "admin"),
            Page("GET", one, self.one, "member"),
            Page("POST", one + "/instructions", self.instruct, "member"),
            Page("GET", one + "/file", self.download, "member"),
            Page("POST", one + "/file/remove", self.remove_file, "member"),
            Page("GET", one + "/export", self.export, "member"),
            Page("POST", one + "/reset", self.reset, "member"),
            Page("POST", one + "/delete", self.delete, "admin"),
            Page("POST", one + "/mode", self.mode, "member"),
            Page("POST", one + "/rules/remove", self.remove_rule, "member"),
            Page("POST", one + "/hosts/add", self.add_host, "admin"),
            Page("POST", one + "/hosts/remove", self.remove_host, "admin"),
        ]

    def _theirs(self, request: web.Request) -> str:
        """Raises `NotFound` for somebody else's, as for one that is not there."""
        workspace, mine = request.match_info["id"], request[SESSION]
        if not _ID.fullmatch(workspace) or not (mine.is_admin or mine.workspace == workspace):
            raise errors.NotFound("There is no such workspace.")
        return workspace

    async def _note(
        self, request: web.Request, kind: str, workspace: str, **detail: object
    ) -> None:
        """What an admin does in somebody's workspace; of one's own nothing needs to be told."""
        if request[SESSION].workspace != workspace:
            await self._desk.note(request, kind, workspace, **detail)

    async def all(self, request: web.Request) -> web.StreamResponse:
        """By their owners; one of a channel is found by its conversations."""
        words, after = request.query.get("q", ""), request.query.get("after", "")
        found = await self._desk.bridge.people(words, after)
        return self._desk.page(request, "workspaces.html", found=found, q=words)

    async def one(self, request: web.Request) -> web.StreamResponse:
        workspace, agent = self._theirs(request), self._desk.agent
        folder = request.query.get("path", "")[:2000]
        view: WorkspaceView | None = None
        files: FileList | None = None
        egress: WorkspaceEgress | None = None
        try:
            view = await agent.workspace(workspace)
            files = await agent.files(workspace, folder, request.query.get("after", "")[:2000])
            egress = await agent.egress(workspace)
        except errors.NotFound:
            if view is not None:
                raise
        await self._note(request, "workspace.read", workspace, folder=folder)
        return self._desk.page(
            request,
            "workspace.html",
            workspace=workspace,
            owner=await self._owner(workspace),
            view=view,
            files=files,
            folder=folder,
            egress=egress,
            instructions=await agent.instructions(workspace),
            limit=INSTRUCTIONS_LIMIT,
            policy=await agent.policy("workspaces", workspace),
            modes=[(mode, MODE_WORDS[mode]) for mode in MODES],
            behaviors=BEHAVIOR_WORDS,
            names=await self._desk.names(),
        )

    async def _owner(self, workspace: str) -> PersonView | None:
        """None for a channel's, or one that was left behind."""
        found = await self._desk.bridge.people(workspace)
        return next((one for one in found.people if one.workspace == workspace), None)

    async def instruct(self, request: web.Request) -> web.StreamResponse:
        workspace = self._theirs(request)
        given = request[FORM].get("text", "")
        text = given.replace("\r\n", "\n") if isinstance(given, str) else ""
        await self._desk.agent.instruct(workspace, text)
        await self._note(request, "workspace.instructed", workspace)
        said = "Stored. Its agent reads them with the next session."
        return await self._desk.told(request, f"/workspaces/{workspace}", said)

    # ---- files ----

    async def download(self, request: web.Request) -> web.StreamResponse:
        workspace, path = self._theirs(request), request.query.get("path", "")[:2000]
        async with self._desk.agent.download(workspace, path) as source:
            await self._note(request, "workspace.file_taken", workspace, path=path)
            name, parts = path.rpartition("/")[2], source.content.iter_chunked(CHUNK)
            kind, size = "application/octet-stream", source.content_length
            return await attachment.send(request, name, kind, aiter(parts), size)

    async def export(self, request: web.Request) -> web.StreamResponse:
        workspace = self._theirs(request)
        async with self._desk.agent.export(workspace) as source:
            await self._note(request, "workspace.exported", workspace)
            parts = aiter(source.content.iter_chunked(CHUNK))
            name = f"{workspace}.tar"
            return await attachment.send(request, name, "application/x-tar", parts)

    async def remove_file(self, request: web.Request) -> web.StreamResponse:
        workspace, path = self._theirs(request), field(request, "path", 2000)
        await self._desk.agent.remove_file(workspace, path)
        await self._note(request, "workspace.file_removed", workspace, path=path)
        folder = path.rpartition("/")[0]
        where = f"/workspaces/{workspace}" + (f"?path={quote(folder)}" if folder else "")
        return await self._desk.told(request, where, f"{path} is removed.")

    # ---- the whole ----

    async def reset(self, request: web.Request) -> web.StreamResponse:
        workspace, keep = self._theirs(request), bool(field(request, "keep"))
        await self._desk.agent.reset(workspace, keep_instructions=keep)
        await self._desk.note(request, "workspace.reset", workspace, kept_instructions=keep)
        said = "The workspace is empty, and its conversations begin anew."
        return await self._desk.told(request, f"/workspaces/{workspace}", said)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        workspace = self._theirs(request)
        await self._desk.agent.remove_workspace(workspace)
        await self._desk.note(request, "workspace.deleted", workspace)
        return await self._desk.told(request, f"/workspaces/{workspace}", "It is deleted.")

    # ---- what its agent may do ----

    async def mode(self, request: web.Request) -> web.StreamResponse:
        workspace, wanted = self._theirs(request), field(request, "mode", 40) or None
        place = ("workspaces", workspace)
        await self._desk.agent.set_mode(place, wanted, request[SESSION].person)
        await self._note(request, "mode.set", workspace, mode=wanted)
        said = f"The mode here is {wanted or 'that of the deployment'} from now on."
        return await self._desk.told(request, f"/workspaces/{workspace}", said)

    async def remove_rule(self, request: web.Request) -> web.StreamResponse:
        workspace, behavior = self._theirs(request), behavior_of(field(request, "behavior"))
        pattern, place = field(request, "pattern"), ("workspaces", workspace)
        by = request[SESSION].person
        await self._desk.agent.change_rule("DELETE", place, behavior, pattern, by)
        await self._note(request, "rule.removed", workspace, behavior=behavior, pattern=pattern)
        where = f"/workspaces/{workspace}"
        return await self._desk.told(request, where, "The rule is taken back.")

    async def add_host(self, request: web.Request) -> web.StreamResponse:
        return await self._host(request, "PUT", "host.allowed", "Its agent may reach that host.")

    async def remove_host(self, request: web.Request) -> web.StreamResponse:
        return await self._host(request, "DELETE", "host.taken_back", "It is taken back.")

    async def _host(
        self, request: web.Request, method: str, kind: str, said: str
    ) -> web.StreamResponse:
        workspace, pattern = self._theirs(request), field(request, "pattern", 300)
        by = request[SESSION].person
        await self._desk.agent.change_egress(method, workspace, pattern, by)
        await self._desk.note(request, kind, workspace, pattern=pattern)
        return await self._desk.told(request, f"/workspaces/{workspace}", said)
