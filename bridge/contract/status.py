"""How the bridge is: its parts, and how much goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bridge.contract.people import ClaimView


@dataclass(frozen=True, slots=True)
class PartView:
    """One part, such as `store`, `agent` or `adapter slack`. `degraded` works for now."""

    name: str
    state: Literal["ok", "starting", "degraded", "failed"]
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class BridgeStatus:
    """Of the whole deployment, but for `parts`: those are of the bridge that answers."""

    version: str
    parts: tuple[PartView, ...]
    queued: int
    """Messages nobody has taken yet."""
    running: int
    waiting: int
    """Turns that wait for a decision."""
    people: int
    strangers: int
    """Who ask to be let in."""
    claim: ClaimView


@dataclass(frozen=True, slots=True)
class FieldView:
    """A setting of an adapter. `value` is empty for a secret; `given` says whether there is one."""

    name: str
    help: str
    secret: bool
    required: bool
    given: bool
    value: str = ""


@dataclass(frozen=True, slots=True)
class AdapterView:
    """An installed adapter; `part` is None where it does not run."""

    name: str
    enabled: bool
    guide: str
    fields: tuple[FieldView, ...]
    checkable: bool
    part: PartView | None = None


@dataclass(frozen=True, slots=True)
class CheckView:
    """One line of what an adapter's check found."""

    title: str
    state: Literal["ok", "warning", "failed"]
    detail: str = ""
    remedy: str = ""
