"""What a probe is: one row of the tables."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Leak:
    """It succeeds where this secret stands in its output."""

    secret: str


@dataclass(frozen=True, slots=True)
class Changed:
    """It succeeds where this file in the folder `changed`, outside of everything, is another one
    than before, or is there at all."""

    file: str


@dataclass(frozen=True, slots=True)
class Says:
    """It succeeds where its output says ESCAPED."""


@dataclass(frozen=True, slots=True)
class Asked:
    """It succeeds where the model's server got a request with the probe's name as its mark."""


Shows = Leak | Changed | Says | Asked


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt to escape. `script` is a shell script, or words for the scripted model.

    Without the sandbox it must succeed, or else it would prove nothing; `nowhere` says why it
    cannot even there.
    """

    name: str
    tries: str
    script: str
    shows: Shows = field(default_factory=Says)
    nowhere: str = ""
    needs: str = ""
    """`root`: only where root planted something for it; `network`: an address beyond loopback."""
