"""The bridge's lines of `bascule doctor`."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from adapters.contract import CheckResult
from bridge import plugins
from bridge.commands.groups import CheckLine, Line
from bridge.home import HomeUnusable, look
from bridge.settings import BridgeSettings, SettingsInvalid, read_signing_keys
from bridge.store import migrate
from bridge.store.dialects import database_at
from bridge.store.errors import StoreBusy, StoreTrouble, StoreUnusable

LEAST_ROOM = 1024**3


def checks(home: Path) -> list[Line]:
    """Python, tools, the home, the database, the adapters."""
    settings = BridgeSettings(bascule_home=home)
    found: list[Line] = [_python(), _git(), _home(home)]
    if found[-1].state == "ok":
        found.append(_room(home))
        if home.exists():
            found += [_keys(settings), _database(settings), _running(settings)]
    return [*found, *_adapters(settings)]


def _python() -> Line:
    return CheckLine("Python", "ok", platform.python_version())


def _git() -> Line:
    if shutil.which("git"):
        return CheckLine("git", "ok")
    return CheckLine("git", "warning", "not found; agents work without it", "apt-get install git")


def _home(home: Path) -> Line:
    try:
        look(home)
    except HomeUnusable as error:
        return CheckLine("BASCULE_HOME", "failed", str(error))
    if not home.exists():
        return CheckLine("BASCULE_HOME", "ok", f"{home} is made by the first `bascule up`")
    return CheckLine("BASCULE_HOME", "ok", str(home))


def _room(home: Path) -> Line:
    there = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(there).free
    detail = f"{free / 1024**3:.1f} GiB free"
    if free < LEAST_ROOM:
        return CheckLine("Disk", "warning", detail, f"Free some space where {there} is.")
    return CheckLine("Disk", "ok", detail)


def _keys(settings: BridgeSettings) -> Line:
    if settings.bridge_signing_keys_file is None and not settings.signing_keys_file.exists():
        return CheckLine("Bridge's signing keys", "ok", "made by the first `bascule up`")
    try:
        read_signing_keys(settings.signing_keys_file)
    except SettingsInvalid as error:
        return CheckLine("Bridge's signing keys", "failed", str(error))
    return CheckLine("Bridge's signing keys", "ok")


def _database(settings: BridgeSettings) -> Line:
    try:
        database = database_at(settings.database_url)
        if not database.exists:
            return CheckLine("Database", "ok", f"{database.name} is made by the first `bascule up`")
        migrate.check(settings.database_url)
    except StoreBusy:
        return CheckLine("Database", "ok", "in use")
    except StoreUnusable as error:
        return CheckLine("Database", "failed", str(error))
    except StoreTrouble as error:
        return CheckLine("Database", "failed", str(error), error.remedy)
    return CheckLine("Database", "ok", database.name)


def _running(settings: BridgeSettings) -> Line:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(settings.agent_socket))
        except OSError:
            return CheckLine("Running", "ok", "no; start it with `bascule up`")
    return CheckLine("Running", "ok", "yes")


def _adapters(settings: BridgeSettings) -> list[Line]:
    found: list[Line] = []
    for name in settings.adapters:
        title = f"Adapter {name}"
        try:
            (plugin,) = plugins.load([name])
            values = plugins.settings_of(plugin)
        except plugins.PluginInvalid as error:
            found.append(CheckLine(title, "failed", str(error)))
            continue
        lines: tuple[CheckResult, ...] = ()
        if plugin.settings.check is not None:
            lines = asyncio.run(_asked(plugin.settings.check, values))
        found += lines or [CheckLine(title, "ok")]
    return found


async def _asked(
    check: Callable[[Mapping[str, str]], Awaitable[tuple[CheckResult, ...]]],
    values: Mapping[str, str],
) -> tuple[CheckResult, ...]:
    return await check(values)
