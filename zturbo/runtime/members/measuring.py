"""A member's reports of what it measures of itself: one a second, as long as something changes."""

from __future__ import annotations

import os
import time

from zturbo.runtime.process.usage import memory_of_this_process, traffic_of_this_host
from zturbo.wire.control.report import Report

__all__ = ["REPORT_EVERY", "Measuring", "micro"]

REPORT_EVERY = 1.0
"""Seconds between two reports."""

STILL = frozenset({"clock", "input", "cpu", "memory", "cores", "received", "sent"})
"""Fields that change while a member does nothing."""

CORES = os.cpu_count() or 1


def micro(seconds: float) -> int:
    """Seconds as whole microseconds."""
    return max(0, int(seconds * 1e6))


class Measuring:
    """When a member reports, and whether it has anything to tell.

    Args:
        now: monotonic seconds: its start.
    """

    def __init__(self, now: float) -> None:
        self._start = now
        self._at = 0.0
        self._told: Report | None = None

    def due(self, now: float) -> bool:
        """Whether it is time for a look."""
        return now >= self._at

    def news(self, measured: Report, now: float) -> Report | None:
        """The report to send; None if nothing has changed.

        Args:
            measured: what the role of this member has measured.
            now: monotonic seconds.
        """
        self._at = now + REPORT_EVERY
        told = self._told
        if told is not None and all(
            getattr(measured, field) == getattr(told, field) for field in Report.kinds() if field not in STILL
        ):
            return None
        self._told = measured
        received, sent = traffic_of_this_host()
        return measured.but(
            clock=micro(now - self._start),
            cpu=micro(time.process_time()),
            memory=memory_of_this_process(),
            received=received,
            sent=sent,
            cores=CORES,
        )
