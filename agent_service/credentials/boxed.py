"""The CLI's own commands about a sign-in, boxed with one person's config directory alone."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from agent_service.credentials.directory import STEERING
from agent_service.credentials.login import Command, environment
from agent_service.egress.presets import SIGN_IN
from agent_service.egress.proxy import Attempt, EgressProxy, Network
from agent_service.sandbox import launch
from agent_service.sandbox.box import HOME, Box
from agent_service.sandbox.limits import Limits

FOLDER = "sign-in"
"""Under the folder of sockets."""


class BoxedCli:
    """One a service. `open` first. Each config directory has a way out of its own, which leads to
    the hosts of a sign-in only."""

    def __init__(
        self,
        home: Path,
        run_dir: Path,
        cli: Path,
        network: Network,
        attempted: Callable[[Path, Attempt], None],
    ) -> None:
        """`home` is the deployment's; `attempted` hears of every connection, and of which config
        directory it was for."""
        self._home = home
        self._folder = run_dir / FOLDER
        self._cli = cli
        self._network = network
        self._attempted = attempted
        self._proxies: dict[Path, EgressProxy] = {}
        self._opening = asyncio.Lock()
        self._scripts: dict[Path, Path] = {}

    async def open(self) -> None:
        """What an earlier service left is removed."""
        shutil.rmtree(self._folder, ignore_errors=True)

    async def close(self) -> None:
        """Nothing gets out any more. Safe to repeat."""
        for proxy in self._proxies.values():
            await proxy.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _proxy(self, config: Path) -> EgressProxy:
        async with self._opening:
            if config not in self._proxies:
                proxy = EgressProxy(
                    self._folder / f"{secrets.token_hex(5)}.sock",
                    lambda: SIGN_IN,
                    lambda attempt: self._attempted(config, attempt),
                    self._network,
                )
                await proxy.open()
                self._proxies[config] = proxy
            return self._proxies[config]

    async def command(self, config: Path, words: Sequence[str]) -> Command:
        """As `Cli` says. A box ends with the process that the command starts."""
        box = Box(
            folder=self._folder / secrets.token_hex(5),
            cli=self._cli,
            work=config,
            config=config,
            model_socket=None,
            egress_socket=(await self._proxy(config)).path,
            uid=os.geteuid(),
            gid=os.getegid(),
            limits=Limits(),
            blank=tuple(config / name for name in STEERING),
            readable=tuple(self._network.readable),
        )
        whole = box.environment(
            {**environment(config, HOME), **self._network.environment, launch.MARK: str(self._home)}
        )
        if config not in self._scripts:
            self._scripts[config] = box.write(whole)
        return Command((str(self._scripts[config]), *words), whole, config)
