"""This host: its name, and the address by which others reach it."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["address_towards", "host_name", "is_loopback", "same_network", "tcp_address"]


def host_name() -> str:
    """What members of one host have in common: its name and boot, so that copies of an image differ."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        mark = boot.read_text().strip()[:8]
    except OSError:
        mark = ""
    try:
        mark += "-" + Path("/proc/self/ns/net").readlink().name[5:-1]
    except OSError:
        mark += ""
    name = os.uname().nodename
    return f"{name}-{mark}" if mark else name


def same_network(name: str) -> bool:
    """Whether a host of this name has the same loopback as this one, whatever it is called now."""
    return name.rsplit("-", 2)[1:] == host_name().rsplit("-", 2)[1:]


def tcp_address(host: str, port: int | str) -> str:
    """``tcp://HOST:PORT``; an IPv6 address in its brackets."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def is_loopback(address: str) -> bool:
    """Whether ``tcp://HOST:PORT`` is reached by its own host alone."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address_towards(address: str) -> str | None:
    """This host's address on its way to ``tcp://HOST:PORT``; None if other hosts do not reach it.

    Nothing is sent: a UDP socket that is connected knows its way.
    """
    import socket  # workers, who start often, have no use for it

    parts = urlsplit(address)
    if parts.scheme != "tcp" or parts.hostname in (None, "*", "0.0.0.0", "::"):
        return None
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((parts.hostname, parts.port or 1))
        except OSError:
            return None
        own: str = probe.getsockname()[0].partition("%")[0]
    return None if ipaddress.ip_address(own).is_loopback else own
