"""The real sessions from the settings: the sandbox tried, the broker made, the launcher told."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from agent_service.broker.broker import Answered, Broker
from agent_service.broker.ledger import Ledger
from agent_service.broker.prices import PriceTable
from agent_service.broker.purses import Purses
from agent_service.broker.rules import Rules
from agent_service.claude.options import bundled_cli
from agent_service.claude.sessions import ClaudeSessions
from agent_service.credentials.keyring import Keyring
from agent_service.egress.exits import Exits
from agent_service.sandbox import cgroups
from agent_service.sandbox.cgroups import Cgroups
from agent_service.sandbox.launch import check_cli
from agent_service.sandbox.launcher import House, Launcher
from agent_service.sandbox.limits import Limits
from agent_service.sandbox.probe import probe
from agent_service.settings import AgentSettings, listed
from agent_service.workspaces.directory import Workspaces

_log = structlog.get_logger(__name__)


def make_broker(
    settings: AgentSettings,
    keyring: Keyring,
    ledger: Ledger,
    purses: Purses,
    answered: Callable[[Answered], None],
) -> Broker:
    """The broker for these settings. Raises `PricesInvalid`."""
    return Broker(
        keyring.choose,
        Rules(tuple(listed(settings.agent_models)), settings.agent_max_tokens),
        _prices(settings),
        answered,
        ledger.spent,
        purses,
        ledger.unmetered,
    )


def make_sessions(
    settings: AgentSettings,
    workspaces: Workspaces,
    broker: Broker,
    exits: Exits,
    keyring: Keyring,
    answered: Callable[[Answered], None],
) -> ClaudeSessions:
    """The factory of real sessions. What an earlier service left is ended and removed.

    Raises `SandboxImpossible` or `LaunchImpossible`. Blocks for some milliseconds.
    """
    cli = settings.agent_claude_cli or bundled_cli()
    check_cli(cli)
    sandboxed = settings.agent_sandbox == "required"
    if sandboxed:
        probe()
    limits = Limits(
        memory=settings.agent_memory_mib,
        processes=settings.agent_processes,
        workspace=settings.agent_workspace_mib,
    )
    house = House(
        home=settings.home,
        run_dir=settings.socket.parent,
        cli=cli,
        limits=limits,
        sandboxed=sandboxed,
        cap_usd=settings.agent_session_usd,
        exits=exits,
        groups=_groups(settings, limits) if sandboxed else None,
    )
    launcher = Launcher(house, broker)
    launcher.clean()
    return ClaudeSessions(
        workspaces,
        launcher,
        retries=settings.agent_model_retries,
        secrets=keyring.secrets,
        bypass=settings.agent_mode_ceiling == "bypassPermissions",
        doubt=keyring.doubt,
        answered=answered,
        prices=_prices(settings),
    )


def _prices(settings: AgentSettings) -> PriceTable:
    file = settings.agent_prices_file
    return PriceTable() if file is None else PriceTable.read(file)


def _groups(settings: AgentSettings, limits: Limits) -> Cgroups | None:
    """The control groups that were handed to the service, ready for sessions. `bascule doctor`
    reads the note about them: it may itself be run from elsewhere."""
    note = settings.socket.parent / cgroups.NOTE
    note.unlink(missing_ok=True)
    top = cgroups.found()
    if top is None:
        return None
    groups = Cgroups(top, settings.home, limits)
    try:
        groups.take_over()
    except OSError as error:
        _log.warning("sandbox.no_groups", group=str(top), reason=str(error))
        return None
    note.write_text(f"{top}\n")
    return groups
