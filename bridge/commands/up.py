"""`bascule up`: the whole deployment on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import typer

from bridge import log
from bridge.commands import given
from bridge.commands.house import StopSignals, programs
from bridge.commands.tell import tell
from bridge.home import HomeLock, HomeUnusable, prepare
from bridge.people import claim
from bridge.settings import BridgeSettings, SettingsInvalid
from bridge.supervisor import StartFailed, Supervisor

LOCK_SECONDS = 10.0
"""How long to wait for an earlier `up` of the same home that is still stopping."""
UNCLAIMED = (
    "Nobody runs this Bascule yet. `bascule claim` shows the code that makes you its operator, on "
    "its pages or from any chat platform; `bascule chat` makes you one here.\n"
)


def up() -> None:
    """Run everything on this machine until Ctrl-C.

    That is the agent service, the bridge and the web admin. One that dies is started again.
    Everything is kept under BASCULE_HOME (default ./data).
    """
    try:
        settings, _ = given.settings()
        pages = given.pages()
        log.configure(settings.log_format, settings.log_level)
        prepare(settings.home)
        code = asyncio.run(_up(settings, pages))
    except (SettingsInvalid, HomeUnusable) as error:
        tell(error, err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(code)


async def _up(settings: BridgeSettings, pages: bool) -> int:
    signals = StopSignals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    lock = HomeLock(settings.home)
    if not await _locked(lock, lambda: typer.echo(_busy(settings), err=True), signals):
        typer.echo(
            "It goes on running: talk to it with `bascule chat`, or stop it first.", err=True
        )
        return 2
    supervisor = Supervisor(
        programs({**os.environ, "BASCULE_HOME": str(settings.home)}, pages=pages),
        settings.run_dir,
        keep_open=(lock.fd,),
    )
    signals.hurry = supervisor.kill
    stopping = asyncio.create_task(signals.asked.wait())
    try:
        if not await _started(supervisor, stopping):
            return 0
        if sys.stderr.isatty():
            typer.echo("\nBascule is up. Talk to it: bascule chat    Stop it: Ctrl-C", err=True)
            where = f"Its pages: {settings.public_url}\n" if pages else ""
            typer.echo(where, err=True)
            if claim.read(settings.home):
                typer.echo(UNCLAIMED, err=True)
        failed = asyncio.create_task(supervisor.wait())
        await asyncio.wait({stopping, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            raise failed.result()
        failed.cancel()
    except StartFailed as error:
        typer.echo(error, err=True)
        return error.code or 1
    finally:
        stopping.cancel()
        await supervisor.stop()
        lock.drop()
    return 0


async def _started(supervisor: Supervisor, stopping: asyncio.Task[bool]) -> bool:
    """False when it was asked to stop meanwhile. Raises `StartFailed`."""
    starting = asyncio.create_task(supervisor.start())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    return False


async def _locked(lock: HomeLock, tell: Callable[[], None], signals: StopSignals) -> bool:
    until = asyncio.get_running_loop().time() + LOCK_SECONDS
    told = False
    while not lock.take():
        if asyncio.get_running_loop().time() > until or signals.asked.is_set():
            return False
        if not told:
            tell()
            told = True
        await asyncio.sleep(0.1)
    return True


def _busy(settings: BridgeSettings) -> str:
    return f"Another Bascule runs on {settings.home}; waiting up to {LOCK_SECONDS:.0f} s for it …"
