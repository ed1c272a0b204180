"""Where the time goes: the CPU that each process of a peer uses for a task, a job, a frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from benchmarks import frames, processes
from benchmarks.frames import Wrong
from benchmarks.peer import Flow, Peer
from benchmarks.work import Begin, Figure, Work, check_numbers
from benchmarks.works.jobs import IN_FLIGHT
from benchmarks.works.tasks import WINDOW

__all__ = ["WORKS"]


def _used(peer: Peer, run: Callable[[int], None], few: int, more: float) -> Iterator[Figure]:
    """CPU of one more task: that of a run of many less that of a run of few."""
    many = few + max(1, round(more))
    run(few)  # to warm up
    pids = {"client": [os.getpid()], **peer.processes()}
    used = {name: dict.fromkeys((few, many), 0.0) for name in pids}
    for size in (few, many):
        before = {name: sum(map(processes.cpu_of, some)) for name, some in pids.items()}
        run(size)
        for name, some in pids.items():
            used[name][size] = sum(map(processes.cpu_of, some)) - before[name]
    for name, cost in used.items():
        each = max(0.0, cost[many] - cost[few]) / (many - few)
        yield Figure(f"µs of CPU, {name}", 1e6 * each, less=True)
    total = sum(cost[many] - cost[few] for cost in used.values()) / (many - few)
    yield Figure("µs of CPU, all", 1e6 * total, less=True)


def tasks(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Of one job."""

    def run(count: int) -> None:
        check_numbers(list(peer.stream(range(count), WINDOW)), 3, count)

    with begin(Flow(("add", "add", "add"))) as peer:
        yield from _used(peer, run, 1000, 50_000 * seconds)


def jobs(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Of one task each."""

    def run(count: int) -> None:
        check_numbers(list(peer.jobs(range(count), IN_FLIGHT)), 3, count)

    with begin(Flow(("add", "add", "add"))) as peer:
        yield from _used(peer, run, 10, 500 * seconds)


def film(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Made by the first stage."""

    def run(count: int) -> None:
        got = 0
        for got, frame in enumerate(peer.fan_out(count, count), 1):
            frames.check(got - 1, frame, whole=False)
        if got != count:
            raise Wrong(f"{got} frames of {count}")

    with begin(Flow(("film", "read", "stamp"), large=True)) as peer:
        yield from _used(peer, run, 5, 50 * seconds)


WORKS = [
    Work("CPU-tasks", "CPU of each process for a task of W1", tasks, limit=40),
    Work("CPU-jobs", "CPU of each process for a job of W2", jobs, limit=40),
    Work("CPU-frames", "CPU of each process for a frame of W4b", film, limit=40),
]
