"""`python -m bridge.commands.missing`: what this machine lacks that pip cannot install."""

from __future__ import annotations

import shutil

NEEDED = {"git": "git", "setpriv": "util-linux"}
FOR_THE_SANDBOX = {"bwrap": "bubblewrap", "socat": "socat"}


def missing(programs: dict[str, str]) -> list[str]:
    """The packages of the programs that are not on PATH."""
    return [package for program, package in programs.items() if shutil.which(program) is None]


def main() -> None:
    """Print what to install; nothing where all is there. Never fails: `doctor` is the judge."""
    if needed := missing(NEEDED):
        print(f"Bascule needs programs that pip cannot install: apt-get install {' '.join(needed)}")
    if sandbox := missing(FOR_THE_SANDBOX):
        print(f"The coming sandbox needs: apt-get install {' '.join(sandbox)}")


if __name__ == "__main__":
    main()
