"""`python -m adapters.console`: the same as `bascule chat`.

With `BASCULE_SUPERVISED`, the id of the process that started it, it ends when that one does.
"""

from __future__ import annotations

import ctypes
import os
import signal

from adapters.console.commands import app

_PR_SET_PDEATHSIG = 1


def _end_with(supervisor: str) -> None:
    """SIGTERM when the supervisor dies, however it dies: nobody is left at the terminal's keys."""
    # From the background of the terminal, too, it must be put in order.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if str(os.getppid()) != supervisor:  # it died before we asked to be told
        raise SystemExit(0)


if __name__ == "__main__":
    if supervisor := os.environ.get("BASCULE_SUPERVISED"):
        _end_with(supervisor)
    app(prog_name="bascule chat")
