"""How much of the machine a session may take: by the kernel a process, by the watchdog together."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024
HEADROOM = 64
"""Processes and threads that the CLI itself may start beyond the limit."""
RESERVED = 4096
"""MiB of data that the CLI reserves and does not use (2,400 were seen)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one session. Sizes are in MiB."""

    memory: int = 4096
    """All processes together, with what lies in the box's temporary file systems."""
    processes: int = 512
    """And threads."""
    workspace: int = 10_240
    """Bytes on disk of the workspace and the session's config together."""
    entries: int = 1_000_000
    """Files and folders there, and as many in the temporary file systems."""
    file: int = 4096
    """One file."""
    open_files: int = 4096
    temporary: int = 1024
    """The box's /tmp; its HOME and /dev/shm have a quarter each."""

    def shell(self) -> str:
        """Lines for the start script. The kernel applies them to each process of the session.

        That of processes is not among them: set out here, all sessions together would count.
        """
        # Far above what the CLI's runtime reserves without using it: it crashes where it cannot.
        return "\n".join(
            (
                "ulimit -c 0",
                f"ulimit -n {self.open_files}",
                f"ulimit -f {self.file * 1024}",
                f"ulimit -d {(self.memory + RESERVED) * 1024}",
                f"ulimit -v {max(self.memory * 16, 128 * 1024) * 1024}",
            )
        )
