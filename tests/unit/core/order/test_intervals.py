"""Intervals are a set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.order.intervals import Intervals


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9))), st.integers(0, 70))
def test_intervals_are_a_set(pieces: list[tuple[int, int]], cut: int) -> None:
    intervals, plain = Intervals(), set()
    for start, n in pieces:
        gaps = intervals.missing(start, start + n)
        assert {i for a, b in gaps for i in range(a, b)} == set(range(start, start + n)) - plain
        intervals.add(start, start + n)
        plain |= set(range(start, start + n))
        intervals.check()
    intervals.cut(cut)
    plain = {i for i in plain if i < cut}
    intervals.check()
    assert all((i in intervals) == (i in plain) for i in range(80))
    first = next(i for i in range(100) if i not in plain)
    assert intervals.prefix == first and intervals.covers(first) and not intervals.covers(first + 1)
