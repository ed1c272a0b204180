"""Which two reports of a member are compared: some seconds apart, and without a pause between them."""

from __future__ import annotations

from zturbo.wire.control.report import Report
from zturbo_broker.members.reports import GAP, SPAN, Reports

SECOND = 1_000_000


def report(second: int, tasks: int = 0, waited: int = 0) -> Report:
    return Report(clock=second * SECOND, tasks=tasks, input=waited * SECOND)


def test_the_first_report_is_compared_with_nothing_done() -> None:
    reports = Reports()
    reports.add(report(5, tasks=3), 10.0)
    assert reports.latest == report(5, tasks=3)
    assert reports.before == Report(clock=4 * SECOND, input=0)


def test_reports_that_are_compared_are_some_seconds_apart() -> None:
    reports = Reports()
    for second in range(1, 60):
        reports.add(report(second, tasks=second), 100.0 + second)
        assert reports.latest is not None and reports.before is not None
        apart = (reports.latest.clock - reports.before.clock) / SECOND
        assert apart <= 2 * SPAN + 1 and (second < SPAN + 1 or apart >= SPAN)


def test_a_pause_does_not_count() -> None:
    reports = Reports()
    reports.add(report(10, tasks=5), 10.0)
    reports.add(report(100, tasks=9, waited=90), 10.0 + GAP + 90)
    assert reports.latest is not None and reports.before is not None
    assert reports.latest.clock - reports.before.clock == SECOND
    assert reports.latest.tasks - reports.before.tasks == 4
    assert reports.latest.input - reports.before.input == SECOND


def test_a_report_that_comes_late_is_dropped() -> None:
    reports = Reports()
    reports.add(report(10, tasks=5), 10.0)
    reports.add(report(9, tasks=4), 11.0)
    assert reports.latest == report(10, tasks=5)
