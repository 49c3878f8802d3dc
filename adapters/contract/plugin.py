"""How an adapter is found, described, set up and made.

An adapter's package names a `Plugin` in the entry-point group `bascule.adapters`. Installed is not
enabled: `BRIDGE_ADAPTERS` names those that run, and one that fails to load stops start-up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from adapters.contract.port import Adapter

CONTRACT_VERSION = 1
"""Raised when the port changes in a way that an older adapter would not survive."""


@dataclass(frozen=True, slots=True)
class SettingField:
    """One setting, by the name of its environment variable."""

    name: str
    help: str
    secret: bool = False
    required: bool = False
    default: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of `bascule doctor`. `remedy` says what to do where `state` is not `ok`."""

    title: str
    state: Literal["ok", "warning", "failed"]
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class AdapterContext:
    """What the deployment gives an adapter: its own settings and one directory of its own."""

    settings: Mapping[str, str]
    state_dir: Path
    """Writable, 0700, kept over restarts, nobody else's."""
    run_dir: Path
    """For sockets; 0700."""
    owner_uid: int
    """The operating-system user who owns the deployment."""


@dataclass(frozen=True, slots=True)
class SetupSpec:
    """What an operator must know and enter to switch the adapter on."""

    fields: tuple[SettingField, ...] = ()
    guide: str = ""
    """Markdown: where the tokens come from, step by step."""
    check: Callable[[Mapping[str, str]], Awaitable[tuple[CheckResult, ...]]] | None = None
    """Try the settings against the platform without starting the adapter."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """An adapter as the bridge discovers it."""

    name: str
    create: Callable[[AdapterContext], Adapter]
    settings: SetupSpec = field(default_factory=SetupSpec)
    contract_version: int = CONTRACT_VERSION
    one_node: bool = False
    """Where a deployment has several bridges, `run` runs on one of them at a time: for a platform
    that would deliver everything to each. `send` and `edit` are called on all of them, also
    where `run` does not run."""
