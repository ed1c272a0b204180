"""Times in buckets: the same bounds in each process, so that histograms can be added."""

from __future__ import annotations

import pytest

from zturbo.telemetry.histogram import BUCKETS, Histogram, added, bucket, quantile, subtracted, upper
from zturbo.wire.control.report import MAX_BUCKETS


def test_a_report_has_room_for_all_buckets() -> None:
    assert BUCKETS == MAX_BUCKETS


@pytest.mark.parametrize("seconds", [1.1e-6, 3e-6, 0.001, 0.02, 1.0, 59.0, 3600.0])
def test_a_time_lies_between_the_bounds_of_its_bucket(seconds: float) -> None:
    at = bucket(seconds)
    assert upper(at - 1) <= seconds <= upper(at)


def test_times_beyond_the_ends_have_a_bucket_too() -> None:
    assert bucket(0.0) == bucket(-1.0) == bucket(1e-9) == 0
    assert bucket(1e9) == BUCKETS - 1


def test_many_times_are_counted_as_equal() -> None:
    times = Histogram()
    times.add(100, 0.2)
    times.add(1, 1.5)
    times.add(0, 9.0)
    assert times.counts[bucket(0.002)] == 100 and sum(times.counts) == 101
    assert times.seconds == pytest.approx(1.7)


def test_a_quantile_is_near_the_time() -> None:
    times = Histogram()
    times.add(98, 98 * 0.02)
    times.add(2, 2 * 1.5)
    counts = times.trimmed()
    assert quantile(counts, 0.5) == pytest.approx(0.02, rel=0.2)
    assert quantile(counts, 0.99) == pytest.approx(1.5, rel=0.2)
    assert quantile((), 0.5) is None


def test_two_states_differ_by_what_came_between() -> None:
    assert subtracted((3, 2, 1), (1, 2)) == (2, 0, 1)
    assert subtracted((3,), (1, 2)) == (2,)
    assert added((1,), (1, 2)) == added((1, 2), (1,)) == (2, 2)
