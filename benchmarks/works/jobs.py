"""W2: many jobs of one small task each."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.peer import Flow
from benchmarks.work import Begin, Figure, Work, check_numbers, timed

__all__ = ["IN_FLIGHT", "WORKS"]

IN_FLIGHT = 256
THREADS = 64


def one_caller(begin: Begin, seconds: float) -> Iterator[Figure]:
    """One thread submits them and waits for the oldest."""
    with begin(Flow(("add", "add", "add"))) as peer:
        count, took = timed(
            lambda n: list(peer.jobs(range(n), IN_FLIGHT)), lambda n, out: check_numbers(out, 3, n), seconds
        )
        yield Figure("jobs/s", count / took)


def many_threads(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Each thread submits one and waits for it."""
    with begin(Flow(("add", "add", "add"))) as peer:
        count, took = timed(
            lambda n: list(peer.from_threads(range(n), THREADS)),
            lambda n, out: check_numbers(out, 3, n),
            seconds,
        )
        yield Figure("jobs/s", count / took)


WORKS = [
    Work("W2", f"jobs of one task, {IN_FLIGHT} in flight, one caller", one_caller),
    Work("W2b", f"jobs of one task from {THREADS} threads, each of which waits for its job", many_threads),
]
