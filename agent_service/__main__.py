"""`python -m agent_service`: serve until told to stop.

Exit codes: 0 stopped, 2 the settings or the machine do not allow a start (starting again cannot
help), 1 anything else.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys

from agent_service import log
from agent_service.contract import process
from agent_service.egress.proxy import Network
from agent_service.service import AgentService, StartFailed
from agent_service.settings import SettingsInvalid, load
from agent_service.store.database import StoreError, StoreUnusable

_KEPT = {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"}


def main(network: Network | None = None) -> int:
    """Read the settings, forget the environment, serve. `network` is as `AgentService` has it."""
    try:
        settings = load()
    except SettingsInvalid as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log is not set up yet
        return 2
    supervisor = os.environ.get("BASCULE_SUPERVISED")
    notified = os.environ.get("NOTIFY_SOCKET")
    for name in set(os.environ) - _KEPT:
        # The SDK hands the whole environment of this process to the CLI.
        del os.environ[name]
    # A core file would hold the keys.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    log.configure(settings.log_format, settings.log_level)
    if supervisor:
        process.end_with(supervisor)
    try:
        asyncio.run(AgentService(settings, network=network).run(lambda: process.ready(notified)))
    except (SettingsInvalid, StartFailed, StoreUnusable) as error:
        remedy = getattr(error, "remedy", "")
        print(f"{error} {remedy}".strip(), file=sys.stderr)  # noqa: T201
        return 2
    except StoreError as error:
        print(f"{error} {error.remedy}".strip(), file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
