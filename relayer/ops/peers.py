"""Who is at the other end of a connection: addresses, and which of them are one and the same."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

IPV6_SITE = 64
"""One customer has at least this prefix of IPv6, so addresses below it are one client."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def address_in(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text is, IPv4 also when it is written as IPv6; None when it is none."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def is_among(client: str, networks: Sequence[Network]) -> bool:
    """Whether it is an address in one of these networks."""
    address = address_in(client)
    return address is not None and any(address in network for network in networks)


def site_of(client: str) -> str:
    """One client whatever its address ends in: an IPv4 address or an IPv6 /64."""
    address = address_in(client)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address), IPV6_SITE), strict=False))
    return client if address is None else str(address)
