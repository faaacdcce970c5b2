"""Keeps requests to servers that others name out of private networks."""

from __future__ import annotations

import ipaddress
import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses those that lead to an address that is not public."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for answer in found:
            if not is_public(answer["host"]):
                raise OSError(f"{host} is not a public address")
        return found

    async def close(self) -> None:
        await self._inner.close()


def guarded_session(
    *, timeout_s: float, limit: int, allow_private: bool, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """A session for servers that others name: bounded, without cookies, and kept out of private
    networks unless they are allowed. `resolver` is the system's when not given.

    A host that is an address is asked of no resolver: check it with `is_public` before.
    """
    names = resolver or ThreadedResolver()
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        connector=aiohttp.TCPConnector(
            resolver=names if allow_private else PublicResolver(names), limit=limit
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def is_public(address: str) -> bool:
    """True for an address on the public internet, looking through IPv4 inside IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            found = inner
    return found.is_global and not found.is_multicast


def is_address(host: str) -> bool:
    """True for an IP address, which no resolver is asked about."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
