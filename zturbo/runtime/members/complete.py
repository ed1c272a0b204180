"""Jobs of which a client has all results, perhaps before the broker knows that they are complete.

A sink sends the last results to the client and its report to the broker at the same time. So a client's
question names such jobs, and the broker answers once it has the reports.
"""

from __future__ import annotations

import threading

from zturbo.wire.control import to_broker
from zturbo.wire.control.fields import MAX_PAGE
from zturbo.wire.control.to_broker import MAX_OVER

__all__ = ["CompleteJobs"]


class CompleteJobs:
    """The last jobs of which all results have come. Thread-safe."""

    def __init__(self) -> None:
        self._jobs: tuple[bytes, ...] = ()
        self._lock = threading.Lock()

    def add(self, job: bytes) -> None:
        """Note that all results of this job have come."""
        with self._lock:
            if job not in self._jobs:
                self._jobs = (*self._jobs[1 - MAX_OVER :], job)

    def question(self, job: bytes | None, most: int = MAX_PAGE, after: int = 0) -> to_broker.Jobs:
        """The question for the status of this job, or for a page of all jobs."""
        return to_broker.Jobs(job=job, over=self._jobs, most=most, after=after)
