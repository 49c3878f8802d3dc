"""`python -m web_admin`: one web admin process until SIGTERM or SIGINT.

Exit codes: 0 stopped, 2 the settings or the machine do not allow a start (starting again cannot
help), 1 anything else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from agent_service.contract import process
from web_admin import log
from web_admin.service import WebAdmin
from web_admin.settings import AdminSettings, SettingsInvalid, load
from web_admin.store.database import StoreError, StoreUnusable


def main() -> int:
    """Serve; every reason not to is one line on stderr."""
    if supervisor := os.environ.get("BASCULE_SUPERVISED"):
        process.end_with(supervisor)
    os.umask(0o077)
    try:
        settings = load()
        log.configure(settings.log_format, settings.log_level)
        asyncio.run(_serve(settings))
    except (SettingsInvalid, StoreUnusable) as error:
        remedy = getattr(error, "remedy", "")
        print(f"{error} {remedy}".strip(), file=sys.stderr)  # noqa: T201 - for the person there
        return 2
    except StoreError as error:
        print(f"{error} {error.remedy}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def _serve(settings: AdminSettings) -> None:
    admin = WebAdmin(settings)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, admin.finish)
    await admin.run(lambda: process.ready(os.environ.get("NOTIFY_SOCKET")))


if __name__ == "__main__":
    sys.exit(main())
