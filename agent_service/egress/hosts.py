"""The lists in force: the deployment's, and each workspace's besides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent_service.contract.egress import AllowedHost, WorkspaceEgress
from agent_service.egress.allow import AllowList, HostPattern
from agent_service.store import hosts
from agent_service.store.database import Database


class Hosts:
    """One a service. What a call has changed is in force once it returns."""

    def __init__(self, database: Database, deployment: Sequence[str]) -> None:
        """Raises `PatternInvalid`."""
        self._database = database
        self._deployment = AllowList(deployment)
        self._lists: dict[str, AllowList] = {}
        self._changed: Callable[[str], None] = lambda _workspace: None

    def on_change(self, changed: Callable[[str], None]) -> None:
        """Have it called with the workspace whose list is another one now."""
        self._changed = changed

    async def open(self) -> None:
        """Read what is stored. Before any session."""
        for workspace, found in (await self._database.tx(hosts.all_of_them)).items():
            self._keep(workspace, found)

    def allowed(self, workspace: str) -> AllowList:
        """What the workspace may reach now."""
        return self._lists.get(workspace, self._deployment)

    async def view(self, workspace: str) -> WorkspaceEgress:
        """Both lists, with who added what."""
        return self._view(workspace, await self._database.tx(hosts.of, workspace))

    async def add(self, workspace: str, pattern: HostPattern, by: str) -> WorkspaceEgress:
        """Allow it; once more changes nothing. Raises `Conflict` where there are too many."""
        found = await self._database.tx(hosts.add, workspace, str(pattern), by)
        return self._in_force(workspace, found)

    async def read_again(self, workspace: str) -> None:
        """Its list was changed in a transaction of somebody else's: it is in force now."""
        self._in_force(workspace, await self._database.tx(hosts.of, workspace))

    async def remove(self, workspace: str, pattern: HostPattern, by: str) -> WorkspaceEgress:
        """Take it back, and what runs through it; what is not there is gone already."""
        found = await self._database.tx(hosts.remove, workspace, str(pattern), by)
        return self._in_force(workspace, found)

    def forget(self, workspace: str) -> None:
        """The workspace is removed, with its list."""
        self._lists.pop(workspace, None)
        self._changed(workspace)

    def _in_force(self, workspace: str, found: Sequence[AllowedHost]) -> WorkspaceEgress:
        self._keep(workspace, found)
        self._changed(workspace)
        return self._view(workspace, found)

    def _keep(self, workspace: str, found: Sequence[AllowedHost]) -> None:
        patterns = [host.pattern for host in found]
        self._lists[workspace] = AllowList([*map(str, self._deployment), *patterns])

    def _view(self, workspace: str, found: Sequence[AllowedHost]) -> WorkspaceEgress:
        return WorkspaceEgress(workspace, tuple(map(str, self._deployment)), tuple(found))
