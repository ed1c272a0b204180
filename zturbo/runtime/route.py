"""Which address of this host others reach it by, and whether an address is this host's."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

__all__ = ["address_towards", "is_here", "is_loopback"]


def is_loopback(address: str) -> bool:
    """Whether ``tcp://HOST:PORT`` is reached by its own host alone."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address_towards(address: str) -> str | None:
    """This host's IPv4 address on its way to ``tcp://HOST:PORT``; None if other hosts do not reach it."""
    way = _way(address)
    return None if way is None or ipaddress.ip_address(way[0]).is_loopback else way[0]


def is_here(address: str) -> bool:
    """Whether this is an address of this host, as far as can be told: loopback may be a tunnel's end."""
    way = _way(address)
    return way is None or way[0] == way[1]


def _way(address: str) -> tuple[str, str] | None:
    """Both ends of the way to an address. Nothing is sent: a UDP socket that is connected knows its way."""
    parts = urlsplit(address)
    if parts.scheme != "tcp" or parts.hostname in (None, "*", "0.0.0.0"):
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((parts.hostname, parts.port or 1))
        except OSError:
            return None
        return probe.getsockname()[0], probe.getpeername()[0]
