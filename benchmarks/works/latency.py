"""W3: one task at a time, from the call to its result."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.frames import Wrong
from benchmarks.peer import Flow
from benchmarks.work import Begin, Figure, Work, percentile

__all__ = ["WORKS"]

WARM = 20
MOST = 2000
LEAST = 20


def _calls(call: Callable[[int], Any], seconds: float) -> Iterator[Figure]:
    times: list[float] = []
    end = time.perf_counter() + 1e9
    for i in range(-WARM, MOST):
        began = time.perf_counter()
        if i == 0:
            end = began + seconds
        result = call(i)
        took = time.perf_counter() - began
        if result != i + 3:
            raise Wrong(f"result {i} is {result!r}")
        if i >= 0:
            times.append(took)
        if i >= LEAST and began + took > end:
            break
    yield Figure("ms, p50", 1e3 * percentile(times, 0.5), less=True)
    yield Figure("ms, p99", 1e3 * percentile(times, 0.99), less=True)


def jobs(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Each task is a job."""
    with begin(Flow(("add", "add", "add"))) as peer:
        yield from _calls(peer.one, seconds)


def open_map(begin: Begin, seconds: float) -> Iterator[Figure]:
    """All tasks are of one job, which stays open."""
    with begin(Flow(("add", "add", "add"))) as peer:
        todo: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        results = peer.stream(iter(todo.get, None), 1)

        def call(content: int) -> Any:
            todo.put(content)
            return next(results)

        yield from _calls(call, seconds)
        todo.put(None)
        if list(results):
            raise Wrong("more results than tasks")


WORKS = [
    Work("W3", "a job of one task at a time, from submit to result", jobs),
    Work("W3b", "a task at a time of a job that stays open", open_map),
]
