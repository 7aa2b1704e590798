"""Which addresses a webhook may be at. Pure.

A URL is what somebody typed, or what a name server says at this moment. So the address itself is asked about, each time when
it is connected to: machines of the own network, this machine, and the services of a cloud's link-local addresses are no webhooks,
unless their network is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))  # RFC 6052 and 8215: an IPv4 address is inside


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return the networks of a setting."""
    return tuple(ip_network(text) for text in texts)


def is_listed(text: str, listed: Sequence[Network]) -> bool:
    """Return whether an address is in a network that is listed."""
    address = _parsed(text)
    return address is not None and any(_is_in(meant, listed) for meant in _meant_by(address))


def is_reachable(text: str, listed: Sequence[Network]) -> bool:
    """Return whether a webhook may be at the address ``text``. What is no address is not."""
    address = _parsed(text)
    if address is None:
        return False
    return all(_is_public(meant) or _is_in(meant, listed) for meant in _meant_by(address))


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _meant_by(address: Address) -> tuple[Address, ...]:
    """Return the addresses that packets to ``address`` may end at: what a mapped or translated one has inside it."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if any(address in network for network in _NAT64):
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    if address.sixtofour is not None:
        return (address, address.sixtofour)
    if address.teredo is not None:
        return (address, *address.teredo)
    return (address,)


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_in(address: Address, listed: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in listed)
