"""Addresses of the public internet, which alone a server may open for a client."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from todre.errors import ImageError
from todre.files import printable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNSEEN = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # protocol assignments, of which Python 3.11 calls some global
            "64:ff9b::/96",  # the next four carry an IPv4 address, which another machine would connect to
            "64:ff9b:1::/48",
            "2002::/16",
            "2001::/32",
            "192.88.99.0/24",  # relays to them
            "fec0::/10",  # site-local addresses
            "3fff::/20",  # documentation
            "168.63.129.16/32",  # a cloud's own host, which answers its machines alone
        ),
    )
)


def is_public(address: Address) -> bool:
    """Whether an address is of the public internet.

    Private, loopback, link-local, multicast, reserved and unspecified addresses are not, and no IPv6 address is that
    stands for an IPv4 address, unless that is public and merely written as one (`::ffff:8.8.8.8`).
    """
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if any(address.version == network.version and address in network for network in _UNSEEN):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_loopback or address.is_link_local
    )


def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host, in the order to try them; none where it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    addresses = dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found)
    return list(addresses)


def checked_addresses(
    host: str, port: int, lookup: Callable[[str, int], list[Address]], allowed: Callable[[Address], bool], instead: str
) -> list[Address]:
    """The addresses of a host, looked up once, if every one of them may be opened.

    Args:
        host, port: what is looked up.
        lookup: finds the addresses.
        allowed: whether an address may be opened.
        instead: what errors say to do instead.

    Raises:
        ImageError: the host has no address, or one that may not be opened.
    """
    addresses = lookup(host, port)
    if not addresses:
        raise ImageError(f"The picture's host {printable(host)!r} has no address; check it, or {instead}.")
    refused = next((address for address in addresses if not allowed(address)), None)
    if refused is not None:
        raise ImageError(
            f"The picture's host {printable(host)!r} is not on the public internet ({refused}), and pictures are read "
            f"from there alone; {instead}."
        )
    return addresses
