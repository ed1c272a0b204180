"""W7: many workers: start, idle CPU, memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks import processes
from benchmarks.frames import Wrong
from benchmarks.peer import Flow
from benchmarks.work import Begin, Figure, Work

__all__ = ["WORKS"]

SETTLED = 0.5
"""Seconds of CPU a second, below which a peer has done with its start."""
LOOK = 0.5
"""Seconds between two looks at that."""


def sizes(seconds: float) -> list[int]:
    """Numbers of workers."""
    return [1, 10, 30, 100] if seconds >= 1 else [1, 3]


def _settle(most: float) -> None:
    end = time.monotonic() + most
    while time.monotonic() < end:
        before = processes.cpu_seconds()
        time.sleep(LOOK)
        if processes.cpu_seconds() - before < SETTLED * LOOK:
            return


def run(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Start, a job, rest, stop, at each size."""
    for workers in sizes(seconds):
        alone = processes.memory()
        began = time.perf_counter()
        with begin(Flow(("add",), workers=workers)) as peer:
            if peer.one(1) != 2:
                raise Wrong("1 + 1 is not 2")
            yield Figure("s to the first result", time.perf_counter() - began, less=True, at=workers)
            _settle(min(10 * seconds, 10 + workers / 2))
            before, began = processes.cpu_seconds(), time.perf_counter()
            time.sleep(seconds)
            idle = (processes.cpu_seconds() - before) / (time.perf_counter() - began)
            yield Figure("% of a CPU when idle", 100 * idle, less=True, at=workers)
            yield Figure("MB per worker", (processes.memory() - alone) / workers, less=True, at=workers)
            began = time.perf_counter()
        yield Figure("s to stop", time.perf_counter() - began, less=True, at=workers)


WORKS = [
    Work("W7", "1 to 100 workers of one stage: start, idle, memory, stop", run, axis="workers", limit=100)
]
