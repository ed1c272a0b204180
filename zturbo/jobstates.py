"""The states of a job, in the broker and in all that it tells members and clients."""

from __future__ import annotations

from enum import Enum

__all__ = ["ENDED", "LIVE", "JobState"]


class JobState(str, Enum):
    """State of a job; each value is the name on the wire and in a status."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __str__ = str.__str__


LIVE = frozenset({JobState.WAITING, JobState.RUNNING})
"""States of a job that has not ended."""

ENDED = frozenset(JobState) - LIVE
"""States of a job that has ended; it does not leave them."""
