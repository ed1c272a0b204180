"""All peers and all works, by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.peer import Peer
from benchmarks.work import Work
from benchmarks.works import (
    batches,
    beside,
    deaths,
    growth,
    jobs,
    latency,
    layers,
    memory,
    scale,
    tasks,
    uneven,
    video,
)

__all__ = ["BASE", "PEERS", "WORKS", "make", "works"]

BASE = "chain"
"""The peer to which the others are compared."""

PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "chain": ("chain", {}),
    "zturbo": ("zturbo", {}),
    "zturbo-fsync": ("zturbo", {"durability": "fsync"}),
    "zturbo-memory": ("zturbo", {"durability": "memory"}),
    "zturbo-functions": ("zturbo", {"functions": True}),
    "system": ("system", {}),
    "pyturbo": ("pyturbo", {}),
    "ray": ("ray", {}),
    "ray-graph": ("ray", {"graph": True}),
    "dask": ("dask", {}),
    "celery": ("celery", {}),
    "parsl": ("parsl", {}),
}
"""Name -> module of :mod:`benchmarks.peers`, and the options of its class."""

WORKS: dict[str, Work] = {
    work.name: work
    for module in (
        tasks,
        jobs,
        latency,
        video,
        uneven,
        scale,
        growth,
        batches,
        deaths,
        memory,
        beside,
        layers,
    )
    for work in module.WORKS
}


def make(name: str) -> Peer:
    """A peer that is not started yet.

    Raises:
        ImportError: a package that it needs is not installed.
    """
    module, options = PEERS[name]
    peer: Peer = import_module(f"benchmarks.peers.{module}").Here(**options)
    return peer


def works(name: str) -> list[Work]:
    """The work of this name, or all whose names begin with it and a hyphen."""
    return [work for work in WORKS.values() if work.name == name or work.name.startswith(f"{name}-")]
