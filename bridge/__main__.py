"""`python -m bridge`: one bridge process until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys

from bridge import log
from bridge.plugins import PluginInvalid
from bridge.service import Bridge
from bridge.settings import BridgeSettings, SettingsInvalid, load
from bridge.store.errors import StoreFull, StoreUnusable

_PR_SET_PDEATHSIG = 1
EXPECTED = (SettingsInvalid, PluginInvalid, StoreUnusable, StoreFull)


def main() -> int:
    """Exit code 0 after a clean stop, 2 when it could not start or go on; one line a reason."""
    if os.environ.get("BASCULE_SUPERVISED") == "1":
        _end_with_parent()
    try:
        settings = load()
        log.configure(settings.log_format, settings.log_level)
        asyncio.run(_serve(settings))
    except EXPECTED as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve(settings: BridgeSettings) -> None:
    bridge = Bridge(settings)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, bridge.finish)
    await bridge.run()


def _end_with_parent() -> None:
    """SIGTERM when the supervisor dies, however it dies: no bridge is left that nobody watches."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
