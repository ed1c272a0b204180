"""W1: small tasks of one job, in order."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.peer import Flow
from benchmarks.work import Begin, Figure, Work, check_numbers, timed

__all__ = ["WINDOW", "WORKS"]

WINDOW = 1024
"""Most tasks in flight, for a peer that does not bound them by itself."""


def stream(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Root tasks come from the client."""
    with begin(Flow(("add", "add", "add"))) as peer:
        count, took = timed(
            lambda n: list(peer.stream(range(n), WINDOW)), lambda n, out: check_numbers(out, 3, n), seconds
        )
        yield Figure("tasks/s", count / took)


def fan_out(begin: Begin, seconds: float) -> Iterator[Figure]:
    """The first stage makes all tasks of one root task."""
    with begin(Flow(("count", "add", "add"))) as peer:
        count, took = timed(
            lambda n: list(peer.fan_out(n, n)), lambda n, out: check_numbers(out, 3, n), seconds
        )
        yield Figure("tasks/s", count / took)


WORKS = [
    Work("W1", "small tasks of one job, three stages, in order", stream),
    Work("W1b", "the same, but one root task is fanned out by the first stage", fan_out),
]
