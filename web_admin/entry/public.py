"""PUBLIC_URL: where people reach the pages."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_PORTS = {"http": 80, "https": 443}


class NotAUrl(ValueError):
    """The text says what is wrong with PUBLIC_URL."""


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """`base` is empty or a path without a slash at its end."""

    scheme: str
    host: str
    """With the port where it is not the scheme's own, as browsers write it."""
    base: str

    @classmethod
    def parse(cls, text: str) -> PublicUrl:
        """Raises `NotAUrl`."""
        try:
            url = urlsplit(text.strip())
            port = url.port
        except ValueError:
            raise NotAUrl("is no URL like https://bascule.example.org") from None
        if url.scheme not in _PORTS or not url.hostname:
            raise NotAUrl("is no URL like https://bascule.example.org")
        if url.username or url.password or url.query or url.fragment:
            raise NotAUrl("has more than a host and a path")
        name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        base = url.path.rstrip("/")
        if not _HOST.fullmatch(name) or not _PATH.fullmatch(base) or ".." in base.split("/"):
            raise NotAUrl("has a host or a path with other characters than a-z, 0-9, - and .")
        made = cls(url.scheme, host_with_port(url.scheme, name, port), base)
        if made.scheme == "http" and not is_loopback_host(made.host):
            raise NotAUrl(
                "is plain http, which everybody on the way can read; use https, with a reverse "
                "proxy in front (docs/admin.md)"
            )
        return made

    @property
    def origin(self) -> str:
        """As browsers put it into the Origin header."""
        return f"{self.scheme}://{self.host}"

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    def __str__(self) -> str:
        return f"{self.origin}{self.base}/"


def host_with_port(scheme: str, name: str, port: int | None) -> str:
    """As a browser writes it: without the scheme's own port."""
    return name if port is None or port == _PORTS[scheme] else f"{name}:{port}"


def is_loopback_host(host: str) -> bool:
    """Whether a host, with or without a port, is this machine itself."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
