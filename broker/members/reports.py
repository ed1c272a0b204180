"""The last reports of one member: enough to tell what it has done lately, and no more."""

from __future__ import annotations

from zturbo.wire.control.report import Report

__all__ = ["GAP", "SPAN", "Reports"]

SPAN = 3.0
"""Seconds between two reports that are compared, at least; twice as many at most."""

GAP = 2.5
"""Seconds without a report after which the member counts as idle since."""

ACTIVE = 1_000_000
"""Microseconds, at the end of such a gap, to which all that has changed meanwhile belongs."""


class Reports:
    """The latest report of a member, and earlier ones."""

    __slots__ = ("_middle", "_middle_at", "at", "before", "latest")

    def __init__(self) -> None:
        self.latest: Report | None = None
        self.at = 0.0
        """When the latest one came."""
        self.before: Report | None = None
        """An earlier one."""
        self._middle: Report | None = None
        """The one that comes after it."""
        self._middle_at = 0.0

    def add(self, report: Report, now: float) -> None:
        """Take a report. One that is older than the latest one is dropped."""
        last = self.latest
        if last is not None and report.clock <= last.clock:
            return
        if last is None:
            self.before = self._middle = _at_start(report)
            self._middle_at = now
        elif now > self.at + GAP:
            self.before = self._middle = _idle_until(last, report)
            self._middle_at = now
        elif now >= self._middle_at + SPAN:
            self.before, self._middle, self._middle_at = self._middle, last, self.at
        self.latest, self.at = report, now


def _at_start(report: Report) -> Report:
    """As if the member had told, shortly before its first report, that it had only waited."""
    worked = report.code + report.held + report.own
    waited = max(0, report.input - max(0, ACTIVE - worked))
    return Report(clock=max(0, report.clock - ACTIVE), input=waited)


def _idle_until(last: Report, report: Report) -> Report:
    """As if the member had told, shortly before this report, that it had done nothing since the last one."""
    clock = max(last.clock, report.clock - ACTIVE)
    waited = last.input + clock - last.clock
    return last.but(clock=clock, input=max(last.input, min(waited, report.input)))
