"""What each folder and each adapter adds to the `bascule` command, by entry point.

A module of the group may offer `app` (a Typer with its commands), `settings` (its pydantic-settings
class), `checks(home)` (lines of `bascule doctor`), `migrate(home)` (one line about what it did),
and for its audit log `audit_verdict(home)` and `audit_entries(home)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

import typer

from agent_service.contract import AuditEntry, Verdict

GROUP = "bascule.commands"


class Line(Protocol):
    """One line of `bascule doctor`."""

    @property
    def title(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def remedy(self) -> str: ...


@dataclass(frozen=True, slots=True)
class CheckLine:
    """A `Line` of the bridge's own. `state` is ok, warning or failed."""

    title: str
    state: str
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """One module of the group. `problem` says why it could not be loaded."""

    name: str
    app: typer.Typer | None = None
    settings: Any | None = None
    checks: Callable[[Path], Sequence[Line]] | None = None
    migrate: Callable[[Path], str] | None = None
    audit_verdict: Callable[[Path], tuple[Path, Verdict] | None] | None = None
    audit_entries: Callable[[Path], Iterable[AuditEntry]] | None = None
    problem: str = ""

    @property
    def title(self) -> str:
        """As people know it."""
        return {"agent": "agent service", "admin": "web admin"}.get(self.name, self.name)


def load() -> list[Group]:
    """Every group, by name. One that cannot be loaded says so and keeps none of the others."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return [_load(point) for point in points]


def _load(point: EntryPoint) -> Group:
    try:
        module = point.load()
    except Exception as error:  # noqa: BLE001 - whatever a package raises, its name must be told
        why = f"{type(error).__name__}: {error}"
        return Group(point.name, problem=f"`{point.value}` cannot be loaded ({why}).")
    return Group(
        point.name,
        getattr(module, "app", None),
        getattr(module, "settings", None),
        getattr(module, "checks", None),
        getattr(module, "migrate", None),
        getattr(module, "audit_verdict", None),
        getattr(module, "audit_entries", None),
    )
