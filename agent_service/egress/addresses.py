"""Which addresses are the public internet: an allowed name must not lead into the own network."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

_NAT64 = IPv6Network("64:ff9b::/96")
_WORLD = IPv6Network("2000::/3")
"""All of IPv6 that is given out for the internet."""
_SPECIAL = tuple(
    ip_network(text)
    for text in (
        # Of IANA's registries of special-purpose addresses, whatever the standard library's
        # version of them says: what serves no host of the internet.
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
    )
)  # fmt: skip


def is_public(text: str) -> bool:
    """False for private, loopback, link-local, shared, multicast, reserved and all other special
    addresses, also where an IPv6 address only wraps one; and for what is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return _public(_unwrapped(address))


def _public(address: IPv4Address | IPv6Address) -> bool:
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and (isinstance(address, IPv4Address) or address in _WORLD)


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
