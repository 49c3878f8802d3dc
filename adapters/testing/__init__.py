"""The conformance suite that every adapter must pass. README.md says how to use it."""

from adapters.testing.checks import CHECKS, Check
from adapters.testing.harness import ConformanceError, Harness, Seen, Who
from adapters.testing.host import RecordingHost
from adapters.testing.run import Report, run

__all__ = [
    "CHECKS",
    "Check",
    "ConformanceError",
    "Harness",
    "RecordingHost",
    "Report",
    "Seen",
    "Who",
    "run",
]
