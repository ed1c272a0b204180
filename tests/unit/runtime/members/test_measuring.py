"""A member reports while something changes, and is silent while it only waits."""

from __future__ import annotations

from zturbo.runtime.members.measuring import REPORT_EVERY, Measuring
from zturbo.wire.control.report import Report


def test_a_report_has_what_is_the_same_for_all_members() -> None:
    measuring = Measuring(10.0)
    report = measuring.news(Report(clock=0, tasks=3), 12.0)
    assert report is not None
    assert (report.clock, report.tasks) == (2_000_000, 3)
    assert report.memory > 0 and report.cpu > 0 and report.cores > 0


def test_one_that_only_waits_is_silent() -> None:
    measuring = Measuring(0.0)
    assert measuring.news(Report(clock=0, tasks=3), 1.0)
    assert measuring.news(Report(clock=0, tasks=3, input=5_000), 2.0) is None
    assert measuring.news(Report(clock=0, tasks=3, input=5_000, code=1), 3.0)
    assert measuring.news(Report(clock=0, tasks=4, input=5_000, code=1), 4.0)


def test_looks_are_a_second_apart() -> None:
    measuring = Measuring(0.0)
    assert measuring.due(0.0)
    measuring.news(Report(clock=0), 5.0)
    assert not measuring.due(5.0 + REPORT_EVERY / 2) and measuring.due(5.0 + REPORT_EVERY)
