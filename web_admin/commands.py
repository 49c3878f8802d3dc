"""What the web admin adds to the `bascule` command: `admin`, checks, settings, migration, audit."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from web_admin.settings import AdminSettings as settings  # noqa: N813 - the group's own name

if TYPE_CHECKING:
    from agent_service.contract import AuditEntry, Verdict

__all__ = ["app", "audit_entries", "audit_verdict", "checks", "migrate", "settings"]

app = typer.Typer()


@app.command("admin")
def admin() -> None:
    """Run the web admin alone, in the foreground, until Ctrl-C."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "web_admin"])  # noqa: S606 - no shell


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `bascule doctor`."""

    title: str
    state: Literal["ok", "warning", "failed"]
    detail: str = ""
    remedy: str = ""


def checks(home: Path) -> list[Check]:
    """Where it is reached, and whether that fits together."""
    found = settings(bascule_home=home)
    if found.listen is None:
        return [Check("Web admin", "ok", "off")]
    if odd := found.reached_elsewhere():
        return [Check("Web admin", "warning", odd, "Correct one of the two.")]
    if found.public_url.startswith("https:") and not found.trusted_proxies:
        detail = f"PUBLIC_URL is {found.public_url}, and no proxy is trusted"
        remedy = "Set TRUSTED_PROXIES to the address of the proxy in front (docs/admin.md)."
        return [Check("Web admin", "warning", detail, remedy)]
    with socket.socket() as probe:
        probe.settimeout(1)
        running = probe.connect_ex(found.listen) == 0
    return [Check("Web admin", "ok", f"{found.public_url}{'' if running else ' (not running)'}")]


def migrate(home: Path) -> str:
    """Bring the web admin's tables up to date; gives one line about what was done."""
    from web_admin.store import migrations
    from web_admin.store.database import engine_for

    path = settings(bascule_home=home).database
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = engine_for(path)
    try:
        before, after = migrations.upgrade(engine)
    finally:
        engine.dispose()
    if before == after:
        return f"web admin: {path} is up to date ({after})"
    return f"web admin: {path} went from {before or 'empty'} to {after}"


def audit_verdict(home: Path) -> tuple[Path, Verdict] | None:
    """Whether its audit log is whole; None where there is none. Raises `AuditUnreadable`."""
    from web_admin.store import audit

    path = settings(bascule_home=home).database
    return (path, audit.verify_file(path)) if path.exists() else None


def audit_entries(home: Path) -> Iterator[AuditEntry]:
    """Its whole audit log, oldest first. Raises `AuditUnreadable`."""
    from web_admin.store import audit

    path = settings(bascule_home=home).database
    return audit.export_file(path) if path.exists() else iter(())
