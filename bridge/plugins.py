"""Adapters by name: discovered, checked and made, or start-up stops and says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import create_model
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.contract import CONTRACT_VERSION, Adapter, AdapterContext, Plugin, SetupInvalid

GROUP = "bascule.adapters"


class _AdapterSettings(BaseSettings):
    """The environment, for the fields a plugin names."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")


class PluginInvalid(Exception):
    """An enabled adapter cannot run. Each line names it and says what to do."""


def installed() -> dict[str, EntryPoint]:
    """Every adapter that is installed, enabled or not; none is imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load(enabled: Sequence[str], given: Sequence[Plugin] = ()) -> list[Plugin]:
    """The plugins of the enabled adapters, in order. `given` ones need no entry point.

    Raises `PluginInvalid` with a line for each that is unknown, broken or of another contract.
    """
    points, by_name = installed(), {plugin.name: plugin for plugin in given}
    found, problems = [], []
    for name in enabled:
        try:
            plugin = by_name.get(name) or _import(name, points)
            if plugin.contract_version != CONTRACT_VERSION:
                raise PluginInvalid(
                    f"Adapter {name} is made for version {plugin.contract_version} of the adapter "
                    f"contract, this bridge has {CONTRACT_VERSION}: install a matching release."
                )
            found.append(plugin)
        except PluginInvalid as error:
            problems.append(str(error))
    if problems:
        raise PluginInvalid("\n".join(problems))
    return found


def loadable() -> list[Plugin]:
    """Every installed adapter that can be loaded, by name. Of the others `doctor` and the start
    say what is wrong."""
    found = []
    for name in sorted(installed()):
        try:
            found += load([name])
        except PluginInvalid:
            continue
    return found


def _import(name: str, points: Mapping[str, EntryPoint]) -> Plugin:
    point = points.get(name)
    if point is None:
        known = ", ".join(sorted(points)) or "none"
        raise PluginInvalid(
            f"Adapter {name} in BRIDGE_ADAPTERS is not installed (installed: {known}): correct "
            "the name, or install its package."
        )
    try:
        loaded = point.load()
    except Exception as error:
        raise PluginInvalid(
            f"Adapter {name} cannot be loaded ({type(error).__name__}: {error}): repair or "
            "reinstall its package, or take it out of BRIDGE_ADAPTERS."
        ) from error
    if not isinstance(loaded, Plugin):
        raise PluginInvalid(
            f"Adapter {name}: {point.value} is no adapters.contract.Plugin: update its package, "
            "or take it out of BRIDGE_ADAPTERS."
        )
    return loaded


def settings_of(plugin: Plugin, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The adapter's own settings, by their exact names, from `given`, the environment or `.env`.

    Raises `PluginInvalid` where a required one is missing.
    """
    values = values_of(plugin) if given is None else dict(given)
    settings = {f.name: values.get(f.name) or f.default for f in plugin.settings.fields}
    missing = [f for f in plugin.settings.fields if f.required and not settings[f.name]]
    if missing:
        lines = [f"Adapter {plugin.name} needs {f.name}: {f.help}" for f in missing]
        raise PluginInvalid("\n".join(lines))
    return settings


def values_of(plugin: Plugin) -> dict[str, str]:
    """The adapter's settings as the environment or `.env` has them, complete or not."""
    fields: dict[str, Any] = {f.name.lower(): (str, f.default) for f in plugin.settings.fields}
    model = create_model(f"{plugin.name}_settings", __base__=_AdapterSettings, **fields)
    values = model().model_dump()
    return {f.name: values[f.name.lower()] for f in plugin.settings.fields}


def make(plugin: Plugin, settings: Mapping[str, str], home: Path, run_dir: Path) -> Adapter:
    """The adapter, with a directory of its own. Raises `PluginInvalid`."""
    state_dir = home / "adapters" / plugin.name
    try:
        for directory in (state_dir, run_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = home.stat().st_uid
        adapter = plugin.create(AdapterContext(settings, state_dir, run_dir, owner))
    except SetupInvalid as error:
        fields = f" ({', '.join(error.fields)})" if error.fields else ""
        raise PluginInvalid(f"Adapter {plugin.name}{fields}: {error} {error.remedy}") from error
    except OSError as error:
        raise PluginInvalid(f"Adapter {plugin.name}: {state_dir} cannot be used: {error}") from None
    except Exception as error:
        raise PluginInvalid(
            f"Adapter {plugin.name} cannot be made ({type(error).__name__}: {error}): repair or "
            "reinstall its package, or take it out of BRIDGE_ADAPTERS."
        ) from error
    if adapter.name != plugin.name:
        raise PluginInvalid(
            f"Adapter {plugin.name} calls itself {adapter.name}: report it to its author."
        )
    return adapter
