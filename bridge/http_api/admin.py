"""The web admin's side of the bridge: a Unix socket, and nothing without a signature."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import structlog
from aiohttp import web

from bridge.http_api.guard import Guard
from bridge.http_api.routes import Route
from bridge.settings import SettingsInvalid
from bridge.store.database import Database

log = structlog.get_logger()


class AdminApi:
    """Serves the routes for as long as it runs."""

    def __init__(
        self, db: Database, socket: Path, keys: Sequence[str], routes: Sequence[Route]
    ) -> None:
        """Raises `SettingsInvalid` for a key that is none."""
        try:
            guard = Guard(db, keys, routes)
        except ValueError as error:
            raise SettingsInvalid(f"BRIDGE_ADMIN_KEYS_FILE: {error}.") from None
        self._socket = socket
        self._app = web.Application(middlewares=[guard.middleware()])
        for route in routes:
            self._app.router.add_route(route.method, route.path, route.handler)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Raises `SettingsInvalid` where the socket cannot be made."""
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            self._socket.unlink(missing_ok=True)
            await web.UnixSite(self._runner, str(self._socket)).start()
            self._socket.chmod(0o600)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise SettingsInvalid(
                f"BRIDGE_ADMIN_SOCKET: {self._socket} cannot be used ({why})."
            ) from None

    async def stop(self) -> None:
        """Harmless to repeat."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            self._socket.unlink(missing_ok=True)
