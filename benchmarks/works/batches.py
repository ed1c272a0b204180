"""W9: batches of 32 frames, loaded, computed on, written in order: what a peer adds to the user's code."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks import processes, steps
from benchmarks.frames import Wrong
from benchmarks.peer import Flow
from benchmarks.work import Begin, Figure, Work

__all__ = ["WORKS"]

BATCH_SECONDS = 0.05
"""About the CPU time of a batch in the user's code."""


def alone(batches: int) -> list[int]:
    """The same code in this process, without any peer."""
    return [steps.write(steps.feature(batch)) for batch in steps.load(batches)]


def run(begin: Begin, seconds: float) -> Iterator[Figure]:
    """CPU of all processes, compared with the CPU of the same code in one process."""
    batches = max(4, round(seconds / BATCH_SECONDS))
    expected = alone(2)
    began = time.process_time()
    expected = alone(batches)
    own = time.process_time() - began
    with begin(Flow(("load", "feature", "write"), large=True)) as peer:
        list(peer.fan_out(2, 2))
        before, began = processes.cpu_seconds(), time.perf_counter()
        out = list(peer.fan_out(batches, batches))
        took, used = time.perf_counter() - began, processes.cpu_seconds() - before
    if out != expected:
        raise Wrong("other results than those of the same code in one process")
    yield Figure("% CPU beside the user's code", 100 * (used - own) / own, less=True)
    yield Figure("batches/s", batches / took)


WORKS = [Work("W9", "batches of 32 frames: loader, features, ordered writer", run)]
