"""Jobs that a client knows to be complete before its broker may know it.

The last results and the sink's word to the broker leave the sink at the same time. So a question about such
a job names it, and the broker answers once it has that word.
"""

from __future__ import annotations

import threading

from zturbo.wire.control import to_broker
from zturbo.wire.control.to_broker import MAX_OVER

__all__ = ["CompleteJobs"]


class CompleteJobs:
    """The last jobs of which all results have come. Thread-safe."""

    def __init__(self) -> None:
        self._jobs: tuple[bytes, ...] = ()
        self._lock = threading.Lock()

    def add(self, job: bytes) -> None:
        """All results of this job have come."""
        with self._lock:
            if job not in self._jobs:
                self._jobs = (*self._jobs[1 - MAX_OVER :], job)

    def question(self, job: bytes | None) -> to_broker.Jobs:
        """What asks for the status of this job, or of all."""
        return to_broker.Jobs(job=job, over=self._jobs)
