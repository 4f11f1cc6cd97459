"""Where a delivery may go: nothing that somebody writes into a URL, or into DNS, may reach the inside of our own network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from ingestion.errors.catalog import HandoffError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def url_fault(url: str, *, allow_private: bool) -> str | None:
    """What is wrong with a subscriber's URL as it is written, None when nothing is; asks no DNS."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error)
    host = parts.hostname or ""
    if parts.scheme not in ("https", "http") or not host or port == 0:
        return "an https:// address expected"
    if parts.username is not None or parts.password is not None:
        return "a name or password stands in it; secrets belong into the environment"
    if parts.fragment:
        return "a #fragment is never sent"
    if parts.scheme == "http" and not is_loopback(host):
        return "http is for this machine alone (127.0.0.1, localhost); everybody else needs https"
    literal = _literal(host)
    if literal is not None and not is_loopback(host):
        return _address_fault(literal, allow_private=allow_private)
    return None


def is_loopback(host: str) -> bool:
    """Whether a URL's host names this machine by itself, without asking DNS."""
    literal = _literal(host)
    return host == "localhost" if literal is None else literal.is_loopback


async def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """The address to connect to; raises ADDRESS_REFUSED when any address of the host may not be reached, OSError when it has none.

    The caller connects to what was checked and does not ask DNS again: a second answer may be another one.
    """
    if (literal := _literal(host)) is not None:
        found: list[Address] = [literal]
    else:
        answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = [ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
    if not is_loopback(host):
        for address in found:
            if (fault := _address_fault(address, allow_private=allow_private)) is not None:
                raise HandoffError("ADDRESS_REFUSED", f"{host} is {address}: {fault}")
    return str(found[0])


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _address_fault(address: Address, *, allow_private: bool) -> str | None:
    inner = _embedded(address)
    if inner is not None:
        return _address_fault(inner, allow_private=allow_private)
    if (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    ):
        # Metadata services of clouds are link-local; no setting opens them.
        return "loopback, link-local and multicast addresses are never delivered to"
    if not address.is_global and not (allow_private and address.is_private):
        return "it is no public address; set allow_private_address if it is meant"
    return None


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None
