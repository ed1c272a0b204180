"""This host: its name, the address by which other hosts reach it, and what listens on it."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = [
    "address_towards",
    "host_name",
    "lacks_zone",
    "listens",
    "same_network",
    "tcp_address",
    "with_zone",
    "zone_of",
]


def host_name() -> str:
    """A name that all members of one host share, and hardly any others.

    Copies of a machine image have one name, so the boot id is added, and the network namespace. Two
    containers may share all three, and yet no files: ``peers.py`` tries ipc before it is used.
    """
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
    """Whether a host with this name shares this one's loopback; it may have been renamed since."""
    return name.rsplit("-", 2)[1:] == host_name().rsplit("-", 2)[1:]


def tcp_address(host: str, port: int | str) -> str:
    """``tcp://HOST:PORT``, with an IPv6 address in brackets."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def bracketed(address: str) -> str:
    """``tcp://HOST:PORT`` with the brackets that an IPv6 address lacks, as launchers may put one in."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return address
    return tcp_address(host, port) if address.startswith("tcp://") else address


def address_towards(address: str) -> str | None:
    """This host's address on its way to ``tcp://HOST:PORT``; None if other hosts cannot reach
    that address.

    Nothing is sent: the kernel chooses the address of a UDP socket when the socket is connected.
    """
    import socket  # imported here: workers start often, and do not need it

    parts = urlsplit(address)
    if parts.scheme != "tcp" or parts.hostname in (None, "*", "0.0.0.0", "::"):
        return None
    host = parts.hostname or ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # A link-local address has a zone, which only getaddrinfo reads.
            probe.connect(socket.getaddrinfo(host, parts.port or 1, family, socket.SOCK_DGRAM)[0][4])
        except OSError:
            return None
        own: str = probe.getsockname()[0].partition("%")[0]
    found = ipaddress.ip_address(own)
    if found.is_loopback:
        return None
    return f"{own}%{zone}" if found.is_link_local and (zone := zone_of(address)) else own


def zone_of(address: str) -> str:
    """The card that ``tcp://[fe80::1%eth0]:PORT`` names; empty if it names none.

    A link-local address is told without it, since each host has names of its own for its cards.
    """
    host = address.rpartition(":")[0]
    return host.partition("%")[2].rstrip("]") if address.startswith("tcp://[") else ""


def lacks_zone(host: str) -> str:
    """What is wrong with a link-local address that names no card, within a sentence; empty for others."""
    import socket

    try:
        if not ("%" not in host and ipaddress.IPv6Address(host).is_link_local):
            return ""
    except ValueError:
        return ""
    cards = ", ".join(name for _, name in socket.if_nameindex() if name != "lo")
    return f"a link-local address, which names no card of this host: write [{host}%CARD]; cards are {cards}"


def with_zone(address: str, zone: str) -> str:
    """An address at which to connect: a link-local one gets this host's zone, if it has none."""
    host = address.removeprefix("tcp://[").partition("]")[0]
    if not zone or host == address or "%" in host or not ipaddress.ip_address(host).is_link_local:
        return address
    return address.replace("]", f"%{zone}]", 1)


def listens(address: str) -> bool:
    """Whether a process of this host takes connections already at an address that is to be bound."""
    if address.startswith("ipc://"):
        name = address.removeprefix("ipc://")
        if name.startswith("@"):
            return _connects("AF_UNIX", "\0" + name[1:])
        return os.path.exists(name) and _connects("AF_UNIX", name)
    parts = urlsplit(address)
    host = parts.hostname
    if parts.scheme != "tcp" or not host or not parts.port:
        return False
    host = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    if "%" in host:
        import socket

        return _connects("AF_INET6", socket.getaddrinfo(host, parts.port, socket.AF_INET6)[0][4])
    return _connects("AF_INET6" if ":" in host else "AF_INET", (host, parts.port))


def _connects(family: str, where: Any) -> bool:
    import _socket as socket  # all that is used of socket, whose import takes ten times as long

    probe = socket.socket(getattr(socket, family), socket.SOCK_STREAM)
    try:
        probe.settimeout(0.5)
        probe.connect(where)
    except OSError:
        return False
    finally:
        probe.close()
    return True
