"""GPUs of the hosts, as nodes tell of them with the leases of their members."""

from __future__ import annotations

from collections.abc import Sequence

from zturbo.wire.control.gpu import MAX_GPUS, Gpu

__all__ = ["HostGpus"]

MOST_HOSTS = 10_000
"""Hosts whose GPUs are kept."""


class HostGpus:
    """What nodes have told lately.

    Args:
        lasts: seconds after which what a node told is not shown any more.
    """

    def __init__(self, lasts: float) -> None:
        self._lasts = lasts
        self._hosts: dict[str, tuple[dict[str, Gpu], float]] = {}
        """Host -> its GPUs by UUID, and when a node told of them last."""

    def told(self, host: str, gpus: Sequence[Gpu], now: float) -> None:
        """A node tells of its host's GPUs. Of several nodes of one host, each sees those that it may see."""
        self._hosts = {name: kept for name, kept in self._hosts.items() if kept[1] > now - self._lasts}
        found, _ = self._hosts.get(host, ({}, now))
        if host not in self._hosts and len(self._hosts) >= MOST_HOSTS:
            return
        for gpu in gpus:
            if gpu.uuid in found or len(found) < MAX_GPUS:
                found[gpu.uuid] = gpu
        self._hosts[host] = (found, now)

    def all(self, now: float) -> dict[str, tuple[Gpu, ...]]:
        """Host -> its GPUs, by their numbers."""
        return {
            host: tuple(sorted(gpus.values(), key=lambda gpu: (gpu.index, gpu.uuid)))
            for host, (gpus, at) in self._hosts.items()
            if at > now - self._lasts
        }
