"""Whether this machine can sandbox, tried and not guessed.

`python -m agent_service.sandbox.probe` exits with 0, or prints why not and exits with 1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from agent_service.sandbox.calls import NoFilter, filter_program

PROGRAMS = {"bwrap": "bubblewrap", "socat": "socat", "setpriv": "util-linux", "bash": "bash"}
SECONDS = 20
KERNEL = Path("/proc/sys")
_APPARMOR = "kernel/apparmor_restrict_unprivileged_userns"
_CLONE = "kernel/unprivileged_userns_clone"
_MOST = "user/max_user_namespaces"


class SandboxImpossible(Exception):
    """`str` says what does not work here, `remedy` what an operator can do."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def probe(kernel: Path = KERNEL) -> None:
    """Start a small box. Raises `SandboxImpossible`. Takes some 20 ms; blocks meanwhile.

    `kernel` is where the kernel's settings are read, for the remedy."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        raise SandboxImpossible(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.",
            remedy=f"apt-get install {' '.join(missing)}",
        )
    try:
        program = filter_program()
    except NoFilter as error:
        raise SandboxImpossible(
            str(error), remedy="Use a machine with an x86_64 or aarch64 processor."
        ) from None
    bwrap = shutil.which("bwrap") or "bwrap"
    command = [bwrap, "--seccomp", "0", "--unshare-all", "--unshare-user", "--disable-userns"]
    command += [
        "--die-with-parent",
        "--cap-drop",
        "ALL",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]
    try:
        done = subprocess.run(
            [*command, "--", "true"],
            input=program,
            env={},  # whoever asks may hold keys
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxImpossible(
            f"bubblewrap does not run: {error}.", remedy=_remedy("", kernel)
        ) from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [
            f"exit code {done.returncode}"
        ]
        raise SandboxImpossible(
            f"bubblewrap does not work: {said[0]}.", remedy=_remedy(said[0], kernel)
        )


def _remedy(said: str, kernel: Path) -> str:
    if _value(kernel / _APPARMOR) == "1":
        return (
            "This system lets no ordinary user make namespaces (AppArmor). Allow it for bwrap by "
            "an AppArmor profile, or: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if _value(kernel / _CLONE) == "0":
        return "sysctl kernel.unprivileged_userns_clone=1"
    if _value(kernel / _MOST) == "0":
        return "sysctl user.max_user_namespaces=10000"
    if "disable-userns" in said or "Unknown option" in said:
        return "bubblewrap 0.8 or newer is needed (Debian 12 has it)."
    return (
        "In a container, bubblewrap needs a seccomp profile that permits namespaces, and an "
        "unmasked /proc (systempaths=unconfined)."
    )


def _value(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def main() -> int:
    try:
        probe()
    except SandboxImpossible as error:
        print(f"{error} {error.remedy}")  # noqa: T201 - for whoever asked
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
