"""W6: tasks of very different length, for eight workers that sleep."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Iterable, Iterator

from benchmarks.frames import Wrong
from benchmarks.peer import Flow
from benchmarks.work import Begin, Figure, Work

__all__ = ["WORKS", "makespan", "times"]

WORKERS = 8
MEAN = 0.02
"""Seconds of a task, in the mean."""


def times(seconds: float) -> list[float]:
    """Heavy-tailed seconds of tasks, which eight workers could do in so many seconds."""
    rng = random.Random(6)
    drawn = [rng.paretovariate(1.3) for _ in range(max(5 * WORKERS, round(WORKERS * seconds / MEAN)))]
    drawn = [min(value, 50.0) for value in drawn]
    scale = WORKERS * seconds / sum(drawn)
    return [value * scale for value in drawn]


def makespan(todo: Iterable[float]) -> float:
    """Seconds until all is done, if each worker that is free takes the next task at once."""
    free = [0.0] * WORKERS
    for seconds in todo:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def run(begin: Begin, seconds: float) -> Iterator[Figure]:
    """All tasks at once; the results in order."""
    todo = times(seconds)
    with begin(Flow(("nap",), workers=WORKERS)) as peer:
        through = peer.stream if peer.streams else peer.jobs
        for _ in through([0.01] * 20 * WORKERS, WORKERS):  # until all workers are there
            pass
        began = time.perf_counter()
        out = list(through(todo, len(todo)))
        took = time.perf_counter() - began
    if out != todo:
        raise Wrong("other results, or another order")
    yield Figure("× the best schedule", took / makespan(sorted(todo, reverse=True)), less=True)
    yield Figure("× a free worker takes the next task", took / makespan(todo), less=True)


WORKS = [Work("W6", f"tasks of heavy-tailed length for {WORKERS} workers that sleep", run)]
