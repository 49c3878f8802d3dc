"""Which hosts an agent may reach: a list, empty by default."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

HTTPS = 443
LONGEST_NAME = 253
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


class PatternInvalid(ValueError):
    """The text is no pattern; it says why."""


@dataclass(frozen=True, slots=True)
class HostPattern:
    """`example.org`, `example.org:8443` or `*.example.org` (which is not example.org itself)."""

    name: str
    port: int = HTTPS
    below: bool = False

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """Raises `PatternInvalid`."""
        name, port = split(text.strip(), default=HTTPS)
        below = name.startswith("*.")
        bare = name.removeprefix("*.")
        if "*" in bare:
            raise PatternInvalid(f"{text}: * may only stand at the beginning, as in *.example.org")
        if below and "." not in bare:
            raise PatternInvalid(f"{text}: that would allow a whole top-level domain")
        return cls(normal(bare), port, below)

    def covers(self, host: str, port: int) -> bool:
        """Whether a normalised host and a port are allowed by it."""
        if port != self.port:
            return False
        return host.endswith("." + self.name) if self.below else host == self.name

    def __str__(self) -> str:
        port = "" if self.port == HTTPS else f":{self.port}"
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{'*.' if self.below else ''}{name}{port}"


def split(text: str, *, default: int | None = None) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises `PatternInvalid`."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise PatternInvalid(f"{text}: not a host")
        port = rest[1:]
    else:
        host, _, port = text.partition(":")
        if ":" in port:
            raise PatternInvalid(f"{text}: an IPv6 address stands in brackets")
    if not port and default is not None:
        return host, default
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise PatternInvalid(f"{text}: the port is not a number from 1 to 65535")
    return host, int(port)


def normal(host: str) -> str:
    """The name in lower case, as punycode, without the root's dot; an address in its usual form.

    Raises `PatternInvalid` for what is neither, such as `0x7f.1`, which a resolver might accept.
    """
    # What follows a % may be anything, and means something on one machine only.
    with contextlib.suppress(ValueError):
        if "%" not in host:
            return str(ipaddress.ip_address(host))
    try:
        name = host.lower().removesuffix(".").encode("idna").decode("ascii")
    except UnicodeError:
        raise PatternInvalid("not a host name") from None
    labels = name.split(".")
    if len(name) > LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise PatternInvalid("not a host name")
    # The last label of a name has a letter: what has none is a number in disguise.
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        raise PatternInvalid("not a host name")
    return name


class AllowList:
    """Patterns of the deployment and of one workspace. Empty means nothing."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Raises `PatternInvalid`."""
        self._patterns = tuple(HostPattern.parse(text) for text in patterns)

    def __or__(self, other: AllowList) -> AllowList:
        """What either covers."""
        both = AllowList()
        both._patterns = self._patterns + other._patterns
        return both

    def covers(self, host: str, port: int) -> bool:
        return any(pattern.covers(host, port) for pattern in self._patterns)

    def __iter__(self) -> Iterator[HostPattern]:
        return iter(self._patterns)
