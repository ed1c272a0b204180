"""Where a process listens, and the addresses that it tells the others.

A process *binds* addresses of its own host. It *tells* those by which others reach it, which may be different
ones: behind NAT or a container's port mapping, others know an address that no card of the host has. Where a
process tells several addresses, each of the others uses the first one that answers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

import zmq

from zturbo.errors import StartError, UsageError
from zturbo.runtime.net.crowd import Bounds
from zturbo.runtime.net.host import tcp_address
from zturbo.runtime.net.limits import descriptors
from zturbo.slotted import slotted

__all__ = ["EVERYWHERE", "MOST_ENDPOINTS", "Listening", "parse_ports", "parse_told", "resolved"]

MOST_ENDPOINTS = 15
"""Addresses that a process tells at most, beside its ipc."""

EVERYWHERE = ("*", "0.0.0.0", "::")
"""Hosts of addresses to bind that stand for all of a host's addresses."""

_PORTS = "two numbers from 1 to 65535, such as 5555-5600"


@slotted(frozen=True)
class Listening:
    """Where the processes of one command listen."""

    hosts: tuple[str, ...] = ("127.0.0.1",)
    """IP addresses of this host to bind, or one of :data:`EVERYWHERE`."""
    ports: tuple[int, int] | None = None
    """First and last port to take; None for any free one."""
    told: tuple[tuple[str, int], ...] = ()
    """(IP address, port) by which others reach this host, if they are others than those bound. The port leads
    to the first of ``ports``, and the next ports to the next ones; 0 if they are the same."""
    paths: tuple[str, ...] = ()
    """ipc addresses to bind, which processes of this host alone reach."""
    half_open: int | None = None
    """Most connections to a process that have not shaken hands yet; None for a default."""
    connections: int | None = None
    """Most connections to a process; None for a default."""

    def to_spec(self) -> dict[str, Any]:
        """As plain values, for the spec of a child process."""
        names = ("hosts", "ports", "told", "paths", "half_open", "connections")
        return {name: getattr(self, name) for name in names}

    def bounds(self) -> Bounds:
        """How many connections a process takes."""
        return Bounds.of(descriptors(), self.half_open, self.connections)

    @classmethod
    def of(cls, spec: dict[str, Any] | str) -> Listening:
        """What a spec has: such values, or one address, ``tcp://HOST:PORT`` (``*`` for any) or ``ipc://PATH``."""
        if isinstance(spec, str) and not spec.startswith("tcp:"):
            return cls((), paths=(spec,))
        if isinstance(spec, str):
            host, port = spec.removeprefix("tcp://").rpartition(":")[::2]
            return cls((host.strip("[]"),), None if port == "*" else (int(port), int(port)))
        first_last = spec["ports"]
        ports = None if first_last is None else (int(first_last[0]), int(first_last[1]))
        told = tuple((host, port) for host, port in spec["told"])
        bounds = (spec.get("half_open"), spec.get("connections"))
        return cls(tuple(spec["hosts"]), ports, told, tuple(spec["paths"]), *bounds)

    def bind(self, make_at: Callable[[str], zmq.Socket[bytes]]) -> list[zmq.Socket[bytes]]:
        """Sockets at all of the hosts.

        Args:
            make_at: makes a socket that is bound to an address.

        Raises:
            StartError: an address cannot be bound, or all of the ports are in use.
        """
        sockets: list[zmq.Socket[bytes]] = []
        try:
            sockets.extend(make_at(path) for path in self.paths)
            sockets.extend(self._bind(host, make_at) for host in self.hosts)
        except StartError:
            for socket in sockets:
                socket.close()
            raise
        return sockets

    def _bind(self, host: str, make_at: Callable[[str], zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        if self.ports is None:
            return make_at(tcp_address(host, "*"))
        first, last = self.ports
        for port in range(first, last + 1):
            try:
                return make_at(tcp_address(host, port))
            except StartError as error:
                if "in use" not in str(error):
                    raise
        raise StartError(
            f"all ports of {host} from {first} to {last} are in use: give more in 'ports'. A worker takes "
            "one, a sink two, and a broker one beside its own"
        )

    def addresses(self, bound: Iterable[zmq.Socket[bytes]]) -> tuple[str, ...]:
        """The addresses to tell of sockets that are bound."""
        from zturbo.runtime.net.binds import own_addresses  # it imports much, and few need it

        return self.to_tell([socket.getsockopt_string(zmq.LAST_ENDPOINT) for socket in bound], own_addresses)

    def to_tell(self, bound: Iterable[str], own: Callable[[], list[str]]) -> tuple[str, ...]:
        """The addresses to tell of those that are bound.

        Args:
            bound: addresses of the sockets, ``tcp://IP:PORT`` or ``ipc://PATH``.
            own: gives the IP addresses of this host.
        """
        found: list[str] = []
        for address in bound:
            if not address.startswith("tcp:"):
                found.append(address)
                continue
            host, port = address.removeprefix("tcp://").rpartition(":")[::2]
            host = host.strip("[]")
            if self.told:
                found += [tcp_address(there, self._mapped(base, int(port))) for there, base in self.told]
                found += (
                    [tcp_address("127.0.0.1" if "." in host else "::1", port)] if host in EVERYWHERE else []
                )
            elif host in EVERYWHERE:
                usable = [one for one in own() if ("." in one or host == "::") and not _is_link_local(one)]
                found += [tcp_address(one, port) for one in usable]
            else:
                found.append(tcp_address(host.partition("%")[0], port))
        return tuple(dict.fromkeys(found))[:MOST_ENDPOINTS]

    def _mapped(self, base: int, port: int) -> int:
        return base + port - self.ports[0] if base and self.ports is not None else base or port

    @property
    def zone(self) -> str:
        """The card of a link-local address among the hosts, such as ``eth0``; empty if there is none."""
        return next((host.partition("%")[2] for host in self.hosts if "%" in host), "")


def _is_link_local(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_link_local


def parse_ports(text: str, where: str) -> tuple[int, int]:
    """First and last port of ``5555-5600``.

    Raises:
        UsageError: it is none such; ``where`` names the flag or the key.
    """
    first, dash, last = text.partition("-")
    if not (first.isascii() and first.isdigit() and (last.isascii() and last.isdigit() if dash else True)):
        raise UsageError(f"{where}: expected {_PORTS}, found {text!r}")
    ports = int(first), int(last if dash else first)
    if not 1 <= ports[0] <= ports[1] <= 65535:
        raise UsageError(f"{where}: expected {_PORTS}, found {text!r}")
    return ports


def parse_told(text: str, where: str) -> tuple[str, int]:
    """(host, port) of ``HOST`` or ``HOST:PORT``; port 0 if none is named. An IPv6 address with a port has
    brackets.

    Raises:
        UsageError: it is none such.
    """
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = text, "0"
    if not (port.isascii() and port.isdigit()) or int(port) > 65535 or not host.strip("[]"):
        raise UsageError(f"{where}: expected HOST or HOST:PORT, found {text!r}")
    return host.strip("[]"), int(port)


def resolved(host: str, where: str) -> str:
    """The IP address of a host, as others are to be told it: they look no names up. Of a name with several it
    is an IPv4 address, if there is one, as it is for ZeroMQ.

    Raises:
        UsageError: this host does not know the name.
    """
    import socket  # imported here: workers start often, and do not need it

    try:
        return str(ipaddress.ip_address(host)) if "%" not in host else host
    except ValueError:
        pass
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
        return min(found, key=lambda address: ":" in address)
    except OSError as error:
        raise UsageError(f"{where}: this host does not know the name {host} ({error.strerror})") from None
