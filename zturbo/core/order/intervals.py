"""A set of non-negative ints as sorted, disjoint, non-touching half-open intervals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

__all__ = ["Intervals"]


class Intervals:
    """A set of which most is one stretch from 0. Its memory grows with the number of stretches."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self._starts, value) - 1
        return at >= 0 and value < self._stops[at]

    def __bool__(self) -> bool:
        return bool(self._starts)

    def covers(self, stop: int) -> bool:
        """Whether all of ``0 .. stop`` is in the set."""
        return stop <= 0 or (bool(self._starts) and self._starts[0] == 0 and self._stops[0] >= stop)

    @property
    def prefix(self) -> int:
        """The length of the stretch that begins at 0."""
        return self._stops[0] if self._starts and self._starts[0] == 0 else 0

    def pairs(self) -> list[tuple[int, int]]:
        """The intervals, half open, in order."""
        return list(zip(self._starts, self._stops, strict=True))

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The parts of ``start .. stop`` that are not in the set, in order."""
        starts, stops = self._starts, self._stops
        if not starts or start >= stops[-1]:
            return [(start, stop)] if start < stop else []
        out = []
        at = bisect_right(stops, start)
        while start < stop and at < len(starts):
            if starts[at] >= stop:
                break
            if starts[at] > start:
                out.append((start, starts[at]))
            start = stops[at]
            at += 1
        if start < stop:
            out.append((start, stop))
        return out

    def add(self, start: int, stop: int) -> None:
        """Add all of ``start .. stop``."""
        starts, stops = self._starts, self._stops
        if stops and stops[-1] == start:
            stops[-1] = stop
            return
        low = bisect_left(stops, start)
        high = bisect_right(starts, stop)
        if low < high:
            start = min(start, starts[low])
            stop = max(stop, stops[high - 1])
        starts[low:high] = [start]
        stops[low:high] = [stop]

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> Intervals:
        """The set of these intervals, which come in any order."""
        out = cls()
        for start, stop in pairs:
            if start < stop:
                out.add(start, stop)
        return out

    def cut(self, stop: int) -> None:
        """Remove everything from ``stop`` on."""
        at = bisect_left(self._starts, stop)
        del self._starts[at:], self._stops[at:]
        if self._stops and self._stops[-1] > stop:
            self._stops[-1] = stop

    def check(self) -> None:
        """Assert every invariant."""
        edges = [edge for pair in zip(self._starts, self._stops, strict=True) for edge in pair]
        assert edges == sorted(set(edges)), edges
