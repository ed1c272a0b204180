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
        self._hosts: dict[str, dict[str, tuple[Gpu, float]]] = {}
        """Host -> UUID -> the GPU, and when a node told of it last."""

    def told(self, host: str, gpus: Sequence[Gpu], now: float) -> None:
        """A node tells of its host's GPUs. Of several nodes of one host, each sees those that it may see."""
        self._forget(now)
        found = self._hosts.get(host, {})
        if not found and len(self._hosts) >= MOST_HOSTS:
            return
        for gpu in gpus:
            if gpu.uuid in found or len(found) < MAX_GPUS:
                found[gpu.uuid] = gpu, now
        if found:
            self._hosts[host] = found

    def all(self, now: float) -> dict[str, tuple[Gpu, ...]]:
        """Host -> its GPUs, by their numbers."""
        self._forget(now)
        return {
            host: tuple(sorted((gpu for gpu, _ in found.values()), key=lambda gpu: (gpu.index, gpu.uuid)))
            for host, found in self._hosts.items()
        }

    def _forget(self, now: float) -> None:
        """Drop GPUs that no node has told of lately."""
        for host, found in list(self._hosts.items()):
            kept = {uuid: told for uuid, told in found.items() if told[1] > now - self._lasts}
            if kept:
                self._hosts[host] = kept
            else:
                del self._hosts[host]
