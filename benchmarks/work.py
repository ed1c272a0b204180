"""What a work is: it starts a peer's pipelines, uses them, checks the results, and gives figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.frames import Wrong
from benchmarks.peer import Flow, Peer

__all__ = ["Begin", "Figure", "Work", "check_numbers", "percentile", "shown", "timed"]

T = TypeVar("T")

Begin = Callable[[Flow], AbstractContextManager[Peer]]
"""Starts a pipeline of the peer that is measured; stops it at the end of the ``with`` statement."""


@dataclass(frozen=True)
class Figure:
    """A number that was measured.

    Attributes:
        name: what it is, with its unit, such as ``tasks/s``.
        value: the number.
        less: less is better.
        at: the size of the work, where a work is done at several sizes.
    """

    name: str
    value: float
    less: bool = False
    at: float | None = None


@dataclass(frozen=True)
class Work:
    """A work that each peer is asked to do. A module of :mod:`benchmarks.works` has one or more.

    Attributes:
        name: such as ``W1``.
        title: what is done, in a line.
        run: does it, in about so many seconds, and gives the figures as they are known.
        axis: what :attr:`Figure.at` counts, where a work is done at several sizes.
        limit: how many times its seconds a measurement may take, beside those of its start.
        two_hosts: it runs in two network namespaces.
    """

    name: str
    title: str
    run: Callable[[Begin, float], Iterator[Figure]]
    axis: str = ""
    limit: int = 20
    two_hosts: bool = False


def timed(
    run: Callable[[int], T],
    check: Callable[[int, T], None],
    seconds: float,
    *,
    least: int = 64,
    most: int = 10**8,
) -> tuple[int, float]:
    """Do a work at growing sizes, until a run takes long enough. The first run never counts.

    Args:
        run: does the work at a size.
        check: raises Wrong unless its results are right; its time is not counted.
        seconds: about how long the run takes that counts.
        least: the first size.
        most: the largest size.

    Returns:
        Size and seconds of the last run.
    """
    size, warm = least, False
    while True:
        began = time.perf_counter()
        results = run(size)
        took = time.perf_counter() - began
        check(size, results)
        if warm and (took >= seconds / 2 or size >= most):
            return size, took
        warm = True
        size = min(most, round(size * min(8.0, max(1.0, 0.8 * seconds / took))))


def check_numbers(results: list[int], first: int, count: int) -> None:
    """Check that these are so many numbers in a row.

    Raises:
        Wrong: they are not.
    """
    expected = range(first, first + count)
    if len(results) != count:
        raise Wrong(f"{len(results)} results of {count}")
    for i, (result, right) in enumerate(zip(results, expected, strict=True)):
        if result != right:
            raise Wrong(f"result {i} is {result!r}, not {right}")


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of them lies."""
    return sorted(values)[round(share * (len(values) - 1))]


def shown(value: float) -> str:
    """A number with three digits that say something."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
