"""Network addresses as they stand in settings and in the headers of proxies."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class NotAnAddress(ValueError):
    """The text is neither an address nor a range."""


def address_of(text: str) -> Address:
    """The address in one entry of X-Forwarded-For, or of a peer: `192.0.2.1`, `192.0.2.1:4711`,
    `2001:db8::1`, `[2001:db8::1]:4711`. An IPv4 address in IPv6's clothes is taken for itself.

    Raises `NotAnAddress`, also for a zone (`fe80::1%eth0`): it means something on one host only.
    """
    text = text.strip(" \t")
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not _is_port(rest)):
            raise NotAnAddress("not an address")
        text = inner
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(":" + port):
            raise NotAnAddress("not an address")
    if "%" in text:
        raise NotAnAddress("not an address")
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise NotAnAddress("not an address") from None
    return plain(found)


def plain(address: Address) -> Address:
    """IPv4, where it is an IPv4 address that an IPv6 socket shows."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_port(text: str) -> bool:
    number = text[1:]
    return text[0] == ":" and number.isascii() and number.isdigit() and int(number[:6]) <= 65_535


@dataclass(frozen=True, slots=True)
class Ranges:
    """Some addresses and ranges. Empty holds nobody."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Ranges:
        """`127.0.0.1, 10.0.0.0/8`. Raises `NotAnAddress` that names the entry."""
        found: list[Network] = []
        for part in filter(None, (one.strip() for one in text.split(","))):
            try:
                network = ipaddress.ip_network(part)
            except ValueError as error:
                near = f" ({error})" if "host bits" in str(error) else ""
                raise NotAnAddress(
                    f"{part!r} is no address like 10.0.0.5 and no range like 10.0.0.0/8{near}"
                ) from None
            if network.prefixlen == 0:
                raise NotAnAddress(f"{part!r} would believe everybody; name the proxies")
            found.append(network)
        return cls(tuple(found))

    def __contains__(self, address: Address) -> bool:
        return any(
            address.version == network.version and address in network for network in self.networks
        )
