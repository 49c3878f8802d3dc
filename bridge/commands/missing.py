"""`python -m bridge.commands.missing`: what this machine lacks that pip cannot install."""

from __future__ import annotations

import shutil

NEEDED = {
    "git": "git",
    "bwrap": "bubblewrap",
    "socat": "socat",
    "setpriv": "util-linux",
    "bash": "bash",
}
"""Programs with their Debian packages; all but git are the sandbox's."""


def main() -> None:
    """Print what to install; nothing where all is there. Never fails: `doctor` is the judge."""
    needed = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if needed:
        print(f"Bascule needs programs that pip cannot install: apt-get install {' '.join(needed)}")


if __name__ == "__main__":
    main()
