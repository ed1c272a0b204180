"""The hosts of a broker's processes, as ``zturbo hosts`` and ``Client.hosts()`` give them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from zturbo.checks import is_loopback
from zturbo.wire.control import answers

__all__ = ["by_host"]


def by_host(members: answers.Members) -> list[dict[str, Any]]:
    """A map for each host, the broker's first: ``host``, ``address``, sums, and ``processes``."""
    hosts: dict[str, dict[str, Any]] = {}
    for process in members.processes:
        host = hosts.setdefault(
            process.host,
            {"host": process.host, "address": None, "cpu": 0, "memory": 0, "heard": process.heard},
        )
        host["address"] = host["address"] or _address(process.addresses)
        host["cpu"] += process.cpu
        host["memory"] += process.memory
        host["heard"] = min(host["heard"], process.heard)
        fields = process.as_map()
        fields["incarnation"] = process.incarnation.hex()
        fields["addresses"], fields["results"] = list(process.addresses), list(process.results)
        del fields["host"]
        host.setdefault("processes", []).append(fields)
    return list(hosts.values())


def _address(addresses: tuple[str, ...]) -> str | None:
    """The IP address at which other hosts reach a process; None if they do not."""
    for address in addresses:
        if address.startswith("tcp:") and not is_loopback(address):
            try:
                return urlsplit(address).hostname
            except ValueError:
                return None
    return None
