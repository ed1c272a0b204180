"""A broker's processes: by host, as ``Client.hosts()`` gives them, and what they have measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from zturbo.checks import is_loopback
from zturbo.wire.control import answers

__all__ = ["by_host", "measurements"]


def by_host(members: answers.Members) -> list[dict[str, Any]]:
    """A map for each host, the broker's first: ``host``, ``address``, sums, ``gpus``, and ``processes``."""
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
    for name, host in hosts.items():
        host["gpus"] = [gpu.as_map() for gpu in members.gpus.get(name, ())]
    return list(hosts.values())


def measurements(pages: Sequence[answers.Telemetry]) -> dict[str, Any]:
    """The pages as one map, with the incarnations as texts. A member is in it once."""
    members = {one.incarnation: one for page in pages for one in page.members}
    return {
        "pipelines": [load.as_map() for page in pages for load in page.pipelines],
        "members": [{**one.as_map(), "incarnation": one.incarnation.hex()} for one in members.values()],
        "gpus": {host: [gpu.as_map() for gpu in gpus] for host, gpus in pages[0].gpus.items()},
    }


def _address(addresses: tuple[str, ...]) -> str | None:
    """The IP address at which other hosts reach a process; None if they do not."""
    for address in addresses:
        if address.startswith("tcp:") and not is_loopback(address):
            try:
                return urlsplit(address).hostname
            except ValueError:
                return None
    return None
