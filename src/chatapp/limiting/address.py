"""Whose address it is, as far as limits are concerned."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

_IPV6_PREFIX = 64
"""Bits. Whoever has one IPv6 address has the 64 bits below this."""
_LONGEST = 64


def network_of(host: str) -> str:
    """What is counted as one: an IPv4 address, or an IPv6 network of 64 bits. Other texts stand for themselves."""
    try:
        address = ip_address(host)
    except ValueError:
        return host[:_LONGEST]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    shift = 128 - _IPV6_PREFIX
    return f"{IPv6Address(int(address) >> shift << shift)}/{_IPV6_PREFIX}"
