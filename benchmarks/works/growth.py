"""W8: what a task costs as the work grows, along one axis at a time. Lines should be flat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.frames import Wrong
from benchmarks.peer import Flow, Peer
from benchmarks.work import Begin, Figure, Work, check_numbers, timed
from benchmarks.works.jobs import IN_FLIGHT
from benchmarks.works.tasks import WINDOW

__all__ = ["WORKS"]

MOST = 10
"""An axis ends where its next point would take so many times the seconds of a measurement."""


def _decades(run: Callable[[int], list[int]], first: int, last: int, seconds: float) -> Iterator[Figure]:
    """One run at each power of ten."""
    check_numbers(run(64), 3, 64)  # to warm up
    for exponent in range(first, last + 1):
        size = 10**exponent
        began = time.perf_counter()
        results = run(size)
        took = time.perf_counter() - began
        check_numbers(results, 3, size)
        yield Figure("µs each", 1e6 * took / size, less=True, at=size)
        if 10 * took > MOST * seconds:
            return


def tasks(begin: Begin, seconds: float) -> Iterator[Figure]:
    """More tasks in one job."""
    with begin(Flow(("add", "add", "add"))) as peer:
        yield from _decades(lambda n: list(peer.stream(range(n), WINDOW)), 3, 7, seconds)


def jobs(begin: Begin, seconds: float) -> Iterator[Figure]:
    """More jobs, one after another: those that have ended must cost nothing."""
    with begin(Flow(("add", "add", "add"))) as peer:
        yield from _decades(lambda n: list(peer.jobs(range(n), IN_FLIGHT)), 2, 6, seconds)


def _small(peer: Peer, first: int, seconds: float) -> float:
    count, took = timed(
        lambda n: list(peer.stream(range(n), WINDOW)), lambda n, out: check_numbers(out, first, n), seconds
    )
    return 1e6 * took / count


def stages(begin: Begin, seconds: float) -> Iterator[Figure]:
    """More stages."""
    for count in range(1, 9) if seconds >= 1 else (1, 2):
        with begin(Flow(("add",) * count)) as peer:
            yield Figure("µs each", _small(peer, count, seconds / 2), less=True, at=count)


def workers(begin: Begin, seconds: float) -> Iterator[Figure]:
    """More workers of one stage."""
    for count in (1, 2, 4, 8, 16, 32, 64) if seconds >= 1 else (1, 2):
        with begin(Flow(("add",), workers=count)) as peer:
            yield Figure("µs each", _small(peer, 1, seconds / 2), less=True, at=count)


def _length(content: object) -> int:
    if not isinstance(content, bytes):
        raise Wrong(f"a result is no bytes but {type(content).__name__}")
    return len(content)


def contents(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Larger contents."""
    sizes = [10**i for i in range(1, 8)] + [64 * 10**6] if seconds >= 1 else [10, 10**5]
    for size in sizes:
        sent = bytes(size)
        large = size >= 10**5

        def check(n: int, out: list[int], sent: bytes = sent) -> None:
            if len(out) != n or set(out) != {len(sent)}:
                raise Wrong(f"{len(out)} results of {n}, or of another length")

        def run(n: int, sent: bytes = sent, window: int = 4 if large else WINDOW) -> list[int]:
            through = peer.stream if peer.streams else peer.jobs
            return [_length(content) for content in through((sent for _ in range(n)), window)]

        with begin(Flow(("same", "same", "same"), large=large)) as peer:
            count, took = timed(run, check, seconds / 2, least=4 if large else 64)
        yield Figure("µs each", 1e6 * took / count, less=True, at=size)


WORKS = [
    Work("W8-tasks", "cost of a task, against the tasks of its job", tasks, axis="tasks", limit=60),
    Work("W8-jobs", "cost of a job, against the jobs before it", jobs, axis="jobs", limit=60),
    Work("W8-stages", "cost of a task, against stages", stages, axis="stages", limit=60),
    Work("W8-workers", "cost of a task, against workers of one stage", workers, axis="workers", limit=60),
    Work("W8-contents", "cost of a task, against its size", contents, axis="bytes", limit=60),
]
