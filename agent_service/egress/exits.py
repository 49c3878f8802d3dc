"""The ways out of all sessions: each by the list of its workspace, as it is now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent_service.broker.tokens import SessionToken
from agent_service.egress.allow import AllowList
from agent_service.egress.hosts import Hosts
from agent_service.egress.proxy import Attempt, EgressProxy, Network

_NOTHING = AllowList()


class Exits:
    """One a service. `attempted` hears of every connection, and whose token's session asked."""

    def __init__(
        self, hosts: Hosts, attempted: Callable[[SessionToken, Attempt], None], network: Network
    ) -> None:
        self._hosts = hosts
        self._attempted = attempted
        self.network = network
        self._proxies: dict[EgressProxy, str] = {}
        hosts.on_change(self._changed)

    async def open(
        self, token: SessionToken, path: Path, also: AllowList | None = None
    ) -> EgressProxy:
        """A proxy for the token's session, that listens on `path`. `also` is what it may reach
        beyond the workspace's list."""
        workspace = token.grant.workspace
        proxy = EgressProxy(
            path,
            lambda: self._hosts.allowed(workspace) | (also or _NOTHING),
            lambda attempt: self._attempted(token, attempt),
            self.network,
        )
        await proxy.open()
        self._proxies[proxy] = workspace
        return proxy

    async def shut(self, proxy: EgressProxy) -> None:
        """Close it. Safe to repeat."""
        self._proxies.pop(proxy, None)
        await proxy.close()

    def _changed(self, workspace: str) -> None:
        for proxy, its in self._proxies.items():
            if its == workspace:
                proxy.judge_again()
