"""The real sessions from the settings: the sandbox tried, the broker made, the launcher told."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from agent_service.broker.broker import Answered, Broker
from agent_service.broker.prices import PriceTable
from agent_service.broker.rules import Rules
from agent_service.claude.options import bundled_cli
from agent_service.claude.sessions import ClaudeSessions
from agent_service.credentials.keyring import Keyring
from agent_service.egress.allow import AllowList
from agent_service.egress.proxy import Attempt, Network
from agent_service.sandbox.launch import check_cli
from agent_service.sandbox.launcher import House, Launcher
from agent_service.sandbox.limits import Limits
from agent_service.sandbox.probe import probe
from agent_service.settings import AgentSettings, listed
from agent_service.workspaces.directory import Workspaces

_log = structlog.get_logger(__name__)


def make_broker(
    settings: AgentSettings, keyring: Keyring, answered: Callable[[Answered], None]
) -> Broker:
    """The broker for these settings. Raises `PricesInvalid`."""
    file = settings.agent_prices_file
    return Broker(
        keyring.choose,
        Rules(tuple(listed(settings.agent_models)), settings.agent_max_tokens),
        PriceTable() if file is None else PriceTable.read(file),
        answered,
    )


def make_sessions(
    settings: AgentSettings, workspaces: Workspaces, broker: Broker, network: Network
) -> ClaudeSessions:
    """The factory of real sessions. What an earlier service left is ended and removed.

    Raises `SandboxImpossible` or `LaunchImpossible`. Blocks for some milliseconds.
    """
    cli = settings.agent_claude_cli or bundled_cli()
    check_cli(cli)
    sandboxed = settings.agent_sandbox == "required"
    if sandboxed:
        probe()
    allowed = AllowList(listed(settings.agent_egress))
    house = House(
        home=settings.home,
        run_dir=settings.socket.parent,
        cli=cli,
        limits=Limits(
            memory=settings.agent_memory_mib,
            processes=settings.agent_processes,
            workspace=settings.agent_workspace_mib,
        ),
        sandboxed=sandboxed,
        cap_usd=settings.agent_session_usd,
        allowed=lambda _workspace: allowed,
        attempted=_told,
        network=network,
    )
    launcher = Launcher(house, broker)
    launcher.clean()
    return ClaudeSessions(
        workspaces,
        launcher,
        retries=settings.agent_model_retries,
        secret=settings.agent_api_key.get_secret_value(),
        bypass=settings.agent_mode_ceiling == "bypassPermissions",
    )


def _told(workspace: str, attempt: Attempt) -> None:
    _log.info(
        "egress.connection",
        workspace=workspace,
        session=attempt.session,
        host=attempt.host,
        port=attempt.port,
        allowed=attempt.allowed,
        reason=attempt.reason,
        address=attempt.address,
    )
