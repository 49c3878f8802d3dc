"""What the agent service adds to the `bascule` command: `agent`, checks, settings, migration,
audit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from agent_service.settings import AgentSettings as settings  # noqa: N813 - the group's own name

if TYPE_CHECKING:
    from agent_service.contract import AuditEntry, Verdict

__all__ = ["app", "audit_entries", "audit_verdict", "checks", "migrate", "settings"]

app = typer.Typer()


@app.command("agent")
def agent() -> None:
    """Run the agent service alone, in the foreground, until Ctrl-C."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "agent_service"])  # noqa: S606 - no shell


def audit_verdict(home: Path) -> tuple[Path, Verdict] | None:
    """Whether its audit log is whole; None where there is none. Raises `AuditUnreadable`."""
    from agent_service.store import audit

    path = settings(bascule_home=home).database
    return (path, audit.verify_file(path)) if path.exists() else None


def audit_entries(home: Path) -> Iterator[AuditEntry]:
    """Its whole audit log, oldest first. Raises `AuditUnreadable`."""
    from agent_service.store import audit

    path = settings(bascule_home=home).database
    return audit.export_file(path) if path.exists() else iter(())


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `bascule doctor`."""

    title: str
    state: Literal["ok", "warning", "failed"]
    detail: str = ""
    remedy: str = ""


def checks(home: Path) -> list[Check]:
    """The Claude CLI, the sandbox and its limits, the credential, the signing keys."""
    return [
        _cli(),
        _sandbox(home),
        _limits(home),
        _user(),
        _credential(home),
        _keys(home),
        _database(home),
    ]


def _cli() -> Check:
    from agent_service.claude.options import bundled_cli  # the SDK is slow to import

    cli = settings().agent_claude_cli or bundled_cli()
    try:
        version = subprocess.run(
            [cli, "--version"],
            # The settings, keys among them, are none of its business.
            env={n: os.environ[n] for n in ("PATH", "HOME") if n in os.environ},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        remedy = "Install the requirements again (`make setup`), or correct AGENT_CLAUDE_CLI."
        return Check("Claude CLI", "failed", f"{cli} does not run: {error}", remedy)
    return Check("Claude CLI", "ok", version)


def _sandbox(home: Path) -> Check:
    from agent_service.sandbox.probe import SandboxImpossible, probe

    if settings(bascule_home=home).agent_sandbox == "off":
        detail = "off: agents have this user's rights, and one person is served"
        return Check("Sandbox", "warning", detail, "Remove AGENT_SANDBOX=off to serve others.")
    try:
        probe()
    except SandboxImpossible as error:
        return Check("Sandbox", "failed", str(error), error.remedy)
    return Check("Sandbox", "ok", "bubblewrap works")


def _limits(home: Path) -> Check:
    from agent_service.sandbox import cgroups
    from agent_service.sandbox.memory import budget

    given = settings(bascule_home=home)
    title, room = "Limits", f"{budget(given.agent_sessions_mib) // 2**20:,} MiB for sessions"
    try:
        # The service may run where groups were handed to it, and this command elsewhere.
        top = (given.socket.parent / cgroups.NOTE).read_text().strip()
    except OSError:
        top = str(cgroups.found() or "")
    if top:
        return Check(title, "ok", f"{room}; by control groups under {top}, and a watchdog")
    return Check(title, "ok", f"{room}; by process, and a watchdog. {cgroups.HOW_TO}")


def _user() -> Check:
    if os.geteuid():
        return Check("User", "ok", f"uid {os.geteuid()}")
    remedy = "Run Bascule as an ordinary user: limits on processes do not hold for root."
    return Check("User", "warning", "root", remedy)


def _credential(home: Path) -> Check:
    found = settings(bascule_home=home)
    url = found.agent_upstream_url
    if found.agent_api_key.get_secret_value():
        return Check("Model", "ok", f"a key is set for {url}")
    return Check(
        "Model",
        "warning",
        f"no key is set for {url}",
        "Set AGENT_API_KEY (or try everything without one: `bascule demo`).",
    )


def _keys(home: Path) -> Check:
    from agent_service.settings import ENCRYPTION_KEYS, SettingsInvalid, read_keys

    found = settings(bascule_home=home)
    sealing = found.encryption_keys_file
    try:
        if found.agent_encryption_keys is None and sealing.exists():
            read_keys(sealing, ENCRYPTION_KEYS)
    except SettingsInvalid as error:
        return Check(ENCRYPTION_KEYS, "failed", str(error))
    if not found.bridge_keys_file.exists():
        return Check("Signing keys", "ok", "made by the first `bascule up`")
    try:
        read_keys(found.bridge_keys_file)
        read_keys(found.admin_keys_file)
    except SettingsInvalid as error:
        return Check("Signing keys", "failed", str(error))
    return Check("Signing keys", "ok")


def _database(home: Path) -> Check:
    from agent_service.store import migrations
    from agent_service.store.database import StoreError, look

    path, title = settings(bascule_home=home).database, "Agent service's database"
    if not os.path.lexists(path.parent) or (path.parent.is_dir() and not path.exists()):
        return Check(title, "ok", "made by the first `bascule up`")
    try:
        look(path)
    except migrations.TooNew as error:
        return Check(title, "failed", str(error), error.remedy)
    except StoreError as error:
        return Check(title, "failed", str(error), error.remedy)
    return Check(title, "ok", str(path))


def migrate(home: Path) -> str:
    """Bring the agent service's tables up to date; gives one line about what was done."""
    from agent_service.store import migrations
    from agent_service.store.database import engine_for

    path = settings(bascule_home=home).database
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = engine_for(path)
    try:
        before, after = migrations.upgrade(engine)
    finally:
        engine.dispose()
    if before == after:
        return f"agent service: {path} is up to date ({after})"
    return f"agent service: {path} went from {before or 'empty'} to {after}"
